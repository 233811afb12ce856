import io

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
from PIL import Image


def init():
    pass


@rawhttp
def run(request: AMLRequest):
    if request.method != "POST":
        return AMLResponse("send an image", 405)
    name = request.form.get("name", "")
    image = Image.open(io.BytesIO(request.files["image"].read()))
    thumbnail = image.resize((2, 3))
    out = io.BytesIO()
    thumbnail.save(out, "PNG")
    headers = {"Content-Type": "image/png", "X-Name": name, "X-Several": "a, b"}
    return AMLResponse(out.getvalue(), 200, headers)
