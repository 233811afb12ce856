import logging
import os

import joblib
import numpy as np
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))


@rawhttp
def run(req: AMLRequest):
    # rows of four float32, one after the other
    body = req.get_data(False)
    if len(body) % 16:
        logging.warning("%d bytes are no rows", len(body))
        return AMLResponse({"error": "send rows of four float32"}, 400, json_str=True, run_function_failed=True)
    rows = np.frombuffer(body, dtype="<f4").reshape(-1, 4)
    answer = model.predict_proba(rows).astype("<f4").tobytes()
    return AMLResponse(answer, 200, {"Content-Type": "application/octet-stream", "X-Rows": str(len(rows))})
