import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

table = PandasParameterType(pd.DataFrame({"a": [1], "b": [2.0]}))
inner = StandardPythonParameterType({"array": NumpyParameterType(np.array([1, 2])), "table": table, "plain": "text"})
items = StandardPythonParameterType([NumpyParameterType(np.array([[0.5]]))])


def init():
    pass


@input_schema("Inputs", StandardPythonParameterType({"inner": inner, "items": items}))
@input_schema("GlobalParameters", StandardPythonParameterType("predict"))
@output_schema(StandardPythonParameterType({"Results": [1.0]}))
def run(Inputs, GlobalParameters="predict"):
    inner, items = Inputs["inner"], Inputs["items"]
    assert isinstance(inner["array"], np.ndarray)
    assert isinstance(inner["table"], pd.DataFrame)
    assert all(isinstance(item, np.ndarray) for item in items)
    return {
        "Results": [inner["array"].sum(), inner["table"]["b"].sum(), *(item.sum() for item in items)],
        "method": GlobalParameters,
        "plain": inner["plain"],
    }
