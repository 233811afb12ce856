import json

from azureml.contrib.services.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse
from flask import jsonify
from flask import request as current


def init():
    pass


@rawhttp
def run(request):
    if request.method == "GET":
        response = AMLResponse({"asked": request.args.get("q")}, 200, json_str=True)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response
    if request.method == "OPTIONS":
        return AMLResponse("", 204, {"Allow": "GET,POST"})
    body = request.get_data()
    if body == b"teapot":
        return AMLResponse("short and stout", 418)
    if body == b"broken":
        return AMLResponse("on fire", 503, {}, False, True)
    if body == b"failed":
        return AMLResponse("so so", 200, run_function_failed=True)
    if body == b"nothing":
        return AMLResponse(None, 200)
    if body == b"jsonify":
        return jsonify(path=current.path, same=current.method)
    if body == b"strange":
        return AMLResponse("", 299)
    return json.loads(body)
