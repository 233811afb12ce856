from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    pass


@rawhttp
def run(request, request_headers):
    assert isinstance(request, AMLRequest)
    return AMLResponse(request.get_json(), 200, {"X-Seen": request_headers.get("X-Mine", "-")}, json_str=True)
