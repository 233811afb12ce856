import json
import os

import numpy as np
from keras.models import model_from_json


def init():
    global model
    model_root = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "model")
    # load json and create model
    with open(os.path.join(model_root, "model.json")) as json_file:
        model = model_from_json(json_file.read())
    # load weights into new model
    model.load_weights(os.path.join(model_root, "model.h5"))
    model.compile(loss="categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])


def run(raw_data):
    data = np.array(json.loads(raw_data)["data"], dtype=np.float32)
    # make prediction
    y_hat = np.argmax(model.predict(data, verbose=0), axis=1)
    return y_hat.tolist()
