from azureml.contrib.services.aml_request import rawhttp
from flask import Response


def init():
    pass


@rawhttp
def run(request):
    def events():
        for number in range(int(request.args["n"])):
            yield f"data: {number}\n\n"

    return Response(events(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
