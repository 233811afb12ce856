import json
import os
import time

import numpy as np
import onnxruntime


def init():
    global session, input_name
    model = os.path.join(os.getenv("AZUREML_MODEL_DIR"), "digits.onnx")
    session = onnxruntime.InferenceSession(model, None)
    input_name = session.get_inputs()[0].name


def preprocess(input_data_json):
    return np.array(json.loads(input_data_json)["data"]).astype("float32").reshape(-1, 64)


def softmax(x):
    e_x = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e_x / e_x.sum(axis=1, keepdims=True)


def postprocess(scores):
    probabilities = softmax(scores)
    return [{"digit": int(np.argmax(one)), "probability": float(np.max(one))} for one in probabilities]


def run(input_data):
    try:
        data = preprocess(input_data)
        start = time.time()
        r = session.run(["scores"], {input_name: data})[0]
        end = time.time()
        return {"result": postprocess(r), "time_in_sec": [end - start]}
    except Exception as e:
        return {"error": str(e)}
