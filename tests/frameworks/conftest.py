"""Tests of frameworks whose libraries have environments of their own: `make test-frameworks` makes and runs those.

Here only the files are collected whose library is installed: in the development environment all but TensorFlow's, and
Keras with PyTorch as backend; in that of TensorFlow its own and Keras', with TensorFlow as backend.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from scoring_runtime.protocols.datatypes import datatype_of, from_raw, to_raw
from tests.runtime.conftest import make_app, script_app, script_folder  # noqa: F401 (fixtures)

_NEEDED = {
    "test_tensorflow.py": "tensorflow",
    "test_keras.py": "keras",
    "test_mlflow.py": "mlflow",
    "test_huggingface.py": "transformers",
}
collect_ignore = [file for file, library in _NEEDED.items() if find_spec(library) is None]


@pytest.fixture
def infer() -> Callable[..., dict[str, Any]]:
    """Ask a model, behind its app, by V2 with binary tensors both ways: arrays by name in, arrays by name out."""

    def ask(app: Any, inputs: dict[str, Any], **parameters: str) -> dict[str, Any]:
        described, bodies = [], []
        for name, array in inputs.items():
            raw = bytes(to_raw(array))
            bodies.append(raw)
            one = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array.dtype.name)}
            described.append(one | {"parameters": {"binary_data_size": len(raw)}})
        head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True, **parameters}}).encode()
        answer = app.test_client().post(
            "/v2/models/model/infer",
            data=head + b"".join(bodies),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        assert answer.status_code == 200, answer.data
        return _read(answer.data, int(answer.headers["Inference-Header-Content-Length"]))

    return ask


def _read(body: bytes, length: int) -> dict[str, Any]:
    found, at = {}, length
    for output in json.loads(body[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = np.array(
            from_raw(output["name"], output["datatype"], output["shape"], body[at : at + size])
        )
        at += size
    return found
