import os

import joblib
import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

data_sample = PandasParameterType(
    pd.DataFrame(
        {
            "customer": pd.Series(["example_value"], dtype="object"),
            "months": pd.Series([0], dtype="int64"),
            "monthly": pd.Series([0.0], dtype="float64"),
            "plan": pd.Series(["example_value"], dtype="object"),
        }
    )
)
input_sample = StandardPythonParameterType({"data": data_sample})
method_sample = StandardPythonParameterType("predict")
result_sample = NumpyParameterType(np.array([0]))
output_sample = StandardPythonParameterType({"Results": result_sample})


def init():
    global model
    # registered by an AutoML run, in the folder of that run
    model_path = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "churn.joblib")
    try:
        model = joblib.load(model_path)
    except Exception as e:
        print("could not load the model", e)
        raise


@input_schema("GlobalParameters", method_sample, convert_to_provided_type=False)
@input_schema("Inputs", input_sample)
@output_schema(output_sample)
def run(Inputs, GlobalParameters="predict"):
    data = Inputs["data"]
    if GlobalParameters == "predict_proba":
        result = model.predict_proba(data)
    elif GlobalParameters == "predict":
        result = model.predict(data)
    else:
        raise Exception(f"Invalid predict method argument received: {GlobalParameters}")
    if isinstance(result, pd.DataFrame):
        result = result.values
    return {"Results": result.tolist()}
