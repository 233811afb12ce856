"""What a model answers to arrays, an app to rows (in JSON, and in V2's binary tensors), and loading to nonsense."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask

from scoring_runtime.errors import StartupError
from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.protocols.datatypes import datatype_of, from_raw, to_raw
from scoring_runtime.tensors import Tensors

LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32"}


def loader(framework: str) -> Callable[..., Any]:
    """What loads a path with a framework, on the CPU, with options by name."""
    return lambda path, **options: load_model(framework, path, LoadOptions(**{"device": "cpu", **options}))


def score(model: Any, *arrays: Any, names: tuple[str, ...] | None = None, method: str = "predict") -> Tensors:
    """The outputs for one array a column, or for one of all columns, without names."""
    given = Tensors(tuple(np.asarray(array) for array in arrays), names)
    result: Tensors = model.predict(model.prepare(given, method), method)
    return result


def scored(model: Any, *arrays: Any, **asked: Any) -> Any:
    """The first output, or the only one."""
    return score(model, *arrays, **asked).arrays[0]


def refused(load: Callable[..., Any], path: Path, **options: Any) -> tuple[str, str]:
    """The reason and the message, of one line, with which a model is not loaded."""
    with pytest.raises(StartupError) as raised:
        load(path, **options)
    assert "\n" not in raised.value.message
    return raised.value.reason, raised.value.message


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


def infer(app: Flask, inputs: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """Ask by V2 with binary tensors both ways: arrays by name in, arrays by name out."""
    described, bodies = [], []
    for name, array in inputs.items():
        raw = bytes(to_raw(array))
        bodies.append(raw)
        one = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array.dtype.name)}
        described.append(one | {"parameters": {"binary_data_size": len(raw)}})
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True, **parameters}}).encode()
    headers = {LENGTH: str(len(head))}
    answer = app.test_client().post("/v2/models/model/infer", data=head + b"".join(bodies), headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers[LENGTH])
    found, at = {}, length
    for output in json.loads(answer.data[:length])["outputs"]:
        end = at + output["parameters"]["binary_data_size"]
        raw = answer.data[at:end]
        found[output["name"]] = np.array(from_raw(output["name"], output["datatype"], output["shape"], raw))
        at = end
    return found
