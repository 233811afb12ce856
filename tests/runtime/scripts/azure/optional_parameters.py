import os

import joblib
import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))


@input_schema(param_name="data", param_type=NumpyParameterType(np.array([[5.1, 3.5, 1.4, 0.2]])))
@input_schema(param_name="top", param_type=StandardPythonParameterType(1), optional=True)
@output_schema(output_type=StandardPythonParameterType({"best": [[0]]}))
def run(data, top=1, request_headers=None):
    best = np.argsort(model.predict_proba(data), axis=1)[:, ::-1][:, :top]
    return {"best": best, "asked by": request_headers.get("X-Ms-Client-Request-Id", "")}
