import os

import numpy as np
import torch
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema
from network import Net
from safetensors.torch import load_file


def init():
    global model, device
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Net()
    # tensors and nothing else: loading this file cannot run code
    model.load_state_dict(load_file(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.safetensors")))
    model.to(device).eval()


@input_schema("data", NumpyParameterType(np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)))
@torch.inference_mode()
def run(data):
    return torch.softmax(model(torch.from_numpy(data).to(device)), dim=1)
