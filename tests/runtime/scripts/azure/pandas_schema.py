import json
import os

import joblib
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema

input_sample = pd.DataFrame(
    {
        "customer": pd.Series(["C-1"], dtype="object"),
        "months": pd.Series([12], dtype="int64"),
        "monthly": pd.Series([20.5], dtype="float64"),
        "plan": pd.Series(["basic"], dtype="object"),
    }
)
output_sample = pd.Series([0]).to_numpy()


def init():
    global model
    model = joblib.load(os.path.join(os.getenv("AZUREML_MODEL_DIR"), "churn.joblib"))


@input_schema("data", PandasParameterType(input_sample))
@output_schema(NumpyParameterType(output_sample))
def run(data):
    try:
        result = model.predict(data)
        return json.dumps({"result": result.tolist()})
    except Exception as e:
        result = str(e)
        return json.dumps({"error": result})
