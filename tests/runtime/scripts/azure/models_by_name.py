import json

import joblib
import numpy as np
from azureml.core import Model


def init():
    global first_model, second_model
    first_model_name = "my_first_model"
    first_model_path = Model.get_model_path(first_model_name)
    print(first_model_name, first_model_path)
    first_model = joblib.load(first_model_path)
    second_model = joblib.load(Model.get_model_path(model_name="my_second_model", version=2))


def run(raw_data):
    try:
        data = json.loads(raw_data)["data"]
        data = np.array(data)
        prediction = (first_model.predict(data) + second_model.predict(data)) / 2
        return prediction.tolist()
    except Exception as e:
        return str(e)
