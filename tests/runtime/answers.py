"""What an app answers to rows: in JSON at /score, and in V2's binary tensors."""

import json
from typing import Any

import numpy as np
from flask import Flask

LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32"}


def by_score(app: Flask, data: Any, method: str = "predict") -> Any:
    """The answer of POST /score."""
    response = app.test_client().post("/score", json={"data": data, "method": method})
    assert response.status_code == 200, response.text
    return response.get_json()


def by_v2(app: Flask, rows: Any, method: str = "predict") -> Any:
    """The output named `method` of a request with `rows` as one binary tensor, answered in binary."""
    size = {"binary_data_size": rows.nbytes}
    given = {"name": "rows", "shape": rows.shape, "datatype": DATATYPES[rows.dtype.name], "parameters": size}
    outputs = [{"name": method, "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [given], "outputs": outputs}).encode()
    headers = {LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    response = app.test_client().post("/v2/models/model/infer", data=head + rows.tobytes(), headers=headers)
    assert response.status_code == 200, response.text
    length = int(response.headers[LENGTH])
    (output,) = json.loads(response.data[:length])["outputs"]
    (dtype,) = (name for name, datatype in DATATYPES.items() if datatype == output["datatype"])
    return np.frombuffer(response.data[length:], dtype).reshape(output["shape"])
