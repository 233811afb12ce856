import json
import os

import joblib
import numpy as np


def init():
    global model
    model_path = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "model.joblib")
    model = joblib.load(model_path)
    print("Init complete")


def run(raw_data):
    data = np.array(json.loads(raw_data)["data"])
    y_hat = model.predict(data)
    classes = ["setosa", "versicolor", "virginica"]
    return {"species": [classes[i] for i in y_hat], "probabilities": model.predict_proba(data)}
