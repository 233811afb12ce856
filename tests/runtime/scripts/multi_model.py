import json

import joblib
from azureml.core.model import Model


def init():
    global first, second
    first = joblib.load(Model.get_model_path("first"))
    second = joblib.load(Model.get_model_path(model_name="second", version=2))


def run(data):
    rows = json.loads(data)["data"]
    return {"first": first.predict(rows), "second": second.predict(rows)}
