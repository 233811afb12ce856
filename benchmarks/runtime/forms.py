"""What a request looks like in each server's own form, and where its answer is.

Every request has one row. A form is chosen by name and by what the rows are: numbers, texts in named columns, or a JPEG
file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.runtime.models import BenchModel

MODEL = "bench"
HEAD_LENGTH = "Inference-Header-Content-Length"
_HEAD_BYTES = 160
JSON = {"Content-Type": "application/json"}
# How far a probability may be from the library's own: resizing differs by a grey level between implementations.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Form:
    """One way to write a request."""

    path: str
    body: Callable[[Any], bytes]
    """A row → the request's body."""
    read: Callable[[Any], Any]
    """The answer, decoded from JSON → the prediction for that row."""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _base64(path: Any) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


AZURE = Form("/score", lambda row: _json(data=[row]), lambda answer: answer[0])
AZURE_IMAGE = Form(
    "/score", lambda path: Path(path).read_bytes(), lambda answer: answer[0], {"Content-Type": "image/jpeg"}
)
V1 = Form(f"/v1/models/{MODEL}:predict", lambda row: _json(instances=[row]), lambda answer: answer["predictions"][0])


def _v2(row: Any) -> bytes:
    return _json(inputs=[{"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}])


def _v2_columns(row: Any) -> bytes:
    columns = [
        {"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [text], "parameters": {"content_type": "str"}}
        for name, text in row.items()
    ]
    return _json(inputs=columns, parameters={"content_type": "pd"})


def _plain_columns(row: Any) -> bytes:
    return _json(
        inputs=[{"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [text]} for name, text in row.items()]
    )


def _v2_file(path: Any) -> bytes:
    """Return a file as a BYTES tensor of the binary extension; spaces make all heads as long as the header says."""
    raw = Path(path).read_bytes()
    size = {"binary_data_size": len(raw) + 4}
    head = _json(inputs=[{"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": size}])
    return head.ljust(_HEAD_BYTES) + len(raw).to_bytes(4, "little") + raw


def _first_output(answer: Any) -> Any:
    return answer["outputs"][0]["data"][0]


_INFER = f"/v2/models/{MODEL}/infer"
V2 = Form(_INFER, _v2, _first_output)
V2_COLUMNS = Form(_INFER, _v2_columns, _first_output)
V2_PLAIN_COLUMNS = Form(_INFER, _plain_columns, _first_output)
V2_IMAGE = Form(
    _INFER,
    _v2_file,
    lambda answer: json.loads(_first_output(answer)),
    {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(_HEAD_BYTES)},
)
MLFLOW = Form("/invocations", lambda row: _json(inputs=[row]), lambda answer: answer["predictions"][0])
MLFLOW_RECORDS = Form(
    "/invocations", lambda row: _json(dataframe_records=[row]), lambda answer: answer["predictions"][0]
)
# Frameworks that leave the form to their user; the scripts in servers/ read these.
OWN = Form("/predict", lambda row: _json(row=row), lambda answer: answer["prediction"])
OWN_ROWS = Form("/predict", lambda row: _json(rows=[row]), lambda answer: answer[0])
OWN_IMAGE = Form("/predict", lambda path: _json(row=_base64(path)), lambda answer: answer["prediction"])


def kind_of(model: BenchModel) -> str:
    """Return what the model's rows are: numbers, texts or images."""
    if model.framework == "pytorch":
        return "images"
    return "texts" if model.name == "faq" else "numbers"


def same(answer: Any, expected: Any) -> bool:
    """Whether a server's prediction is that of the library: the class, or the likeliest classes of an image."""
    if not isinstance(expected, list):
        return bool(answer == expected)
    found = dict(_pair(entry) for entry in answer)
    return all(abs(found.get(label, -1.0) - probability) < TOLERANCE for label, probability in expected[:1]) and (
        len(found) == len(expected)
    )


def _pair(entry: Any) -> tuple[str, float]:
    """Read [label, probability], or an object with these two."""
    if isinstance(entry, dict):
        return str(entry["label"]), float(entry["probability"])
    return str(entry[0]), float(entry[1])
