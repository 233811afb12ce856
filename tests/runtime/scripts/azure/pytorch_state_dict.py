import json
import os

import torch
import torch.nn as nn
from network import Net  # beside this file


def init():
    global model, device
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    model = Net()
    path = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "outputs", "model.pt")
    model.load_state_dict(torch.load(path, map_location=lambda storage, loc: storage, weights_only=True))
    model.to(device).eval()


def run(input_data):
    input_data = torch.tensor(json.loads(input_data)["data"]).to(device)
    with torch.no_grad():
        output = model(input_data)
        softmax = nn.Softmax(dim=1)
        pred_probs = softmax(output).cpu().numpy()
        index = torch.argmax(output, 1).cpu()
    classes = ["setosa", "versicolor", "virginica"]
    return [{"label": classes[i], "probability": str(pred_probs[n][i])} for n, i in enumerate(index)]
