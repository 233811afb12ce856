"""No body is the server's fault: every decoder, given any bytes or a valid body that was damaged, decodes or refuses.

Bodies are cut, bytes of them are changed, and values in their JSON are replaced; what decodes is also scored and
encoded.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring_runtime.errors import RequestError
from scoring_runtime.frameworks import Model
from scoring_runtime.protocols import ServedModel, routes_of
from scoring_runtime.protocols.call import Request
from scoring_runtime.protocols.routes import ScoringRoute

ROUTES = {route.path: route for route in routes_of(ServedModel("m", "1")).scoring}
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
RAW = np.array(ROWS, "<f4").tobytes()
TENSOR = {"name": "x", "shape": [2, 4], "datatype": "FP64", "data": ROWS}
BINARY = {"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(RAW)}}
TEXT = {"name": "t", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 10}}
OUTPUTS = [{"name": "predict", "parameters": {"binary_data": True}}, {"name": "predict_proba"}]

# Path, JSON, what follows it, content type.
VALID: list[tuple[str, Any, bytes, str]] = [
    ("/score", {"data": ROWS, "method": "predict_proba"}, b"", "application/json"),
    ("/score", {"columns": ["a", "b", "c", "d"], "data": ROWS, "index": [0, 1]}, b"", "application/json"),
    ("/score", {"data": [{"b64": "AAAA"}, {"b64": ""}]}, b"", "application/json"),
    ("/v2/models/m/infer", {"id": "1", "inputs": [TENSOR], "outputs": OUTPUTS}, b"", "application/json"),
    ("/v2/models/m/infer", {"inputs": [BINARY], "parameters": {"binary_data_output": True}}, RAW, ""),
    ("/v2/models/m/infer", {"inputs": [TEXT]}, b"\2\0\0\0ab\0\0\0\0", ""),
    ("/v1/models/m:predict", {"instances": ROWS, "parameters": {"method": "predict"}}, b"", "application/json"),
    ("/v1/models/m:predict", {"instances": [{"a": {"b64": "AAAA"}, "b": [1]}]}, b"", "application/json"),
    ("/invocations", {"dataframe_split": {"columns": [0, 1, 2, 3], "data": ROWS}}, b"", "application/json"),
    ("/invocations", {"inputs": {"a": [1, 2], "b": ["x", "y"]}, "params": {}}, b"", "application/json"),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@pytest.fixture(scope="module")
def score(iris_model: Model) -> Callable[..., None]:
    """Decode, score and encode as an endpoint does, without the queue; RequestError is the only one allowed."""

    def run(route: ScoringRoute, body: bytes, content_type: str, environ: dict[str, str]) -> None:
        try:
            call = route.decode(Request(body, content_type, environ, iris_model))
            assert len({len(array) for array in call.inputs.arrays}) == 1
            method = call.method or iris_model.methods[0]
            if call.also or method not in iris_model.methods:
                return
            reply = route.encode(iris_model.predict(iris_model.prepare(call.inputs, method), method), call)
            assert reply.status == 200
        except RequestError as error:
            if not 400 <= error.status < 500:
                pytest.fail(f"{error.status}: {error.message}")

    return run


FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(
    st.sampled_from(sorted(ROUTES)),
    st.binary(max_size=200),
    st.sampled_from(["application/json", "text/csv", "image/png", "", "application/octet-stream"]),
    st.none() | st.integers(-1, 200).map(str) | st.text(max_size=3),
)
def test_any_bytes(score: Callable[..., None], path: str, body: bytes, kind: str, length: str | None) -> None:
    environ = {} if length is None else {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH": length}
    score(ROUTES[path], body, kind, environ)


@FUZZ
@given(st.data(), st.sampled_from(VALID))
def test_damaged_bodies(score: Callable[..., None], data: st.DataObject, valid: tuple[str, Any, bytes, str]) -> None:
    path, document, tail, kind = valid
    head = json.dumps(document).encode()
    environ = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH": str(len(head))} if tail else {}
    body = bytearray(head + tail)
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(body)))
        body[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    score(ROUTES[path], bytes(body[: data.draw(st.integers(0, len(body)) | st.just(len(body)))]), kind, environ)


@FUZZ
@given(st.data(), st.sampled_from(VALID))
def test_other_values(score: Callable[..., None], data: st.DataObject, valid: tuple[str, Any, bytes, str]) -> None:
    path, document, tail, kind = valid
    document = json.loads(json.dumps(document))
    for _ in range(data.draw(st.integers(1, 2))):
        _replace_one(document, data)
    head = json.dumps(document).encode()
    environ = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH": str(len(head))} if tail else {}
    score(ROUTES[path], head + tail, kind, environ)


def _replace_one(value: Any, data: st.DataObject) -> None:
    """Walk down a path and put another value, or one more or fewer, where it ends."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(value[key], dict | list) and value[key] and data.draw(st.integers(0, 3)):
            value = value[key]
            continue
        if data.draw(st.booleans()):
            value[key] = data.draw(JSON)
        else:
            del value[key]
        return


@FUZZ
@given(st.text(alphabet=st.sampled_from('a1,.-_"\n\r \xff\u2028'), max_size=60))
def test_any_csv(score: Callable[..., None], text: str) -> None:
    score(ROUTES["/invocations"], text.encode(), "text/csv", {})
