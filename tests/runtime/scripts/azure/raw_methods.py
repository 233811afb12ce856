import os

import joblib
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
from flask import jsonify


def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))


@rawhttp
def run(request: AMLRequest):
    print(f"Request: [{request.method}]")
    if request.method == "GET":
        row = [float(value) for value in request.args.getlist("x")]
        resp = AMLResponse({"species": int(model.predict([row])[0])}, 200, json_str=True)
        resp.headers["Allow"] = "OPTIONS, GET, POST"
        resp.headers["Access-Control-Allow-Origin"] = "http://www.example.com"
        resp.headers["Access-Control-Allow-Headers"] = "*"
        return resp
    if request.method == "POST":
        if not request.is_json:
            return AMLResponse("Unsupported media type", 415)
        return jsonify(species=model.predict(request.get_json()["data"]).tolist())
    if request.method == "OPTIONS":
        return AMLResponse("", 200, {"Allow": "OPTIONS, GET, POST"})
    return AMLResponse("bad request", 500)
