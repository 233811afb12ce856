import json
from io import BytesIO

import joblib
import numpy as np
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
from azureml.core.model import Model
from PIL import Image


def init():
    global model
    model = joblib.load(Model.get_model_path("digits"))


@rawhttp
def run(request: AMLRequest):
    if request.method != "POST" or "image" not in request.files:
        return AMLResponse("bad request, use POST with the field image", 400)
    answers = []
    for upload in request.files.getlist("image"):
        image = Image.open(BytesIO(upload.read())).convert("L").resize((8, 8))
        # the digits were written in 17 shades of grey
        pixels = np.asarray(image, dtype=np.float64).reshape(1, 64) * 16 / 255
        answers.append({"file": upload.filename, "digit": int(model.predict(pixels)[0])})
    response = AMLResponse(json.dumps(answers), 200)
    response.headers["Content-Type"] = "application/json"
    return response
