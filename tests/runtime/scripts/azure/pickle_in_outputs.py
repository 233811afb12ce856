import json
import logging
import os
import pickle

import numpy as np
from azureml.monitoring import ModelDataCollector

logger = logging.getLogger("azureml")


def init():
    global model, inputs_dc, prediction_dc
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "outputs", "wine.pkl")
    logger.info("loading %s", path)
    with open(path, "rb") as f:
        model = pickle.load(f)
    inputs_dc = ModelDataCollector("wine", designation="inputs", feature_names=["alcohol", "malic_acid", "ash"])
    prediction_dc = ModelDataCollector("wine", designation="predictions", feature_names=["class"])


def run(data):
    rows = np.array(json.loads(data)["data"])
    inputs_dc.collect(rows)
    result = model.predict(rows)
    prediction_dc.collect(result)
    # a string: the client calls json.loads twice
    return json.dumps({"result": result.tolist()})
