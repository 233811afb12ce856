import os

import numpy as np
import onnxruntime
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    global session, input_name, label_name
    session = onnxruntime.InferenceSession(
        os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.onnx"), providers=["CPUExecutionProvider"]
    )
    input_name = session.get_inputs()[0].name
    label_name = session.get_outputs()[0].name


@input_schema("data", NumpyParameterType(np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)))
@output_schema(NumpyParameterType(np.array([0])))
def run(data):
    return session.run([label_name], {input_name: data})[0]
