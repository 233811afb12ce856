import json

import numpy as np
from azureml.core.model import Model
from sklearn.externals import joblib


def init():
    global model
    model = joblib.load(Model.get_model_path(model_name="model.joblib"))


def run(raw_data):
    try:
        data = np.array(json.loads(raw_data)["data"])
        return json.dumps({"result": model.predict(data).tolist()})
    except Exception as e:
        return json.dumps({"error": str(e)})
