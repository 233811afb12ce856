import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema


def init():
    pass


@input_schema("data", NumpyParameterType(np.array([1, 2, 3])))
@input_schema("factor", StandardPythonParameterType(2), optional=True)
def run(data, factor=10):
    return data * (factor or 0)
