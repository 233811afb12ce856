import json
import os

import torch


def init():
    global model
    model = torch.nn.Linear(2, 1)
    model.load_state_dict(torch.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "weights.pt"), weights_only=True))
    model.eval()


def run(data):
    with torch.no_grad():
        return {"scores": model(torch.tensor(json.loads(data)["data"]))}
