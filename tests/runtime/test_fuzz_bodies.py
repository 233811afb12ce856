"""Every parser of request bodies, given what nobody would send: no crash, no 500, and a body that says what is wrong.

case                                         expected
bodies near to valid ones                    2xx or 4xx, JSON back, the model's own answer where it is 2xx
any bytes, any header                        4xx mostly; never 5xx
content encodings, declared lengths, chunks  the same
gRPC messages with raw contents              a Call or a RequestError

The long profile is marked slow.
"""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from scoring_runtime.errors import RequestError
from scoring_runtime.frameworks import Model
from scoring_runtime.protocols import ServedModel
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.codec import decode, encode
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.web.scoring import score_call

# Numbers at the end of what a float holds overflow in the model, which is its own affair.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
LIMIT = 20_000
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def profile(examples: int, **others: Any) -> Any:
    return settings(max_examples=examples, suppress_health_check=SUPPRESSED, phases=PHASES, **others)


Asked = tuple[str, bytes, dict[str, str]]

numbers = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, 4, -1, 2**31, 2**63, 2**64, 1e308])
scalars = st.none() | st.booleans() | numbers | st.text(max_size=6)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
ordinary = st.integers(-9, 9) | st.floats(-9, 9, width=16)
rows = st.lists(st.lists(ordinary, min_size=4, max_size=4), min_size=1, max_size=3)
odd_rows = st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=3)
names = st.sampled_from(["a", "b", "c", "d", "input-0", "predict", "predict_proba", "", "x" * 200])
datatypes = st.sampled_from(["FP64", "FP32", "FP16", "BF16", "INT8", "INT64", "UINT8", "UINT64", "BOOL", "BYTES", "?"])
shapes = st.sampled_from([[1, 4], [2, 2], [4], [1], [], [0, 4], [-1, 4], [2**40, 2**40], [1] * 40]) | trees
data = rows | odd_rows | trees
parameters = st.dictionaries(
    st.sampled_from(["method", "binary_data", "binary_data_output", "binary_data_size", "classification"]), scalars
)


def some(fields: dict[str, st.SearchStrategy[Any]], others: st.SearchStrategy[Any] = trees) -> st.SearchStrategy[Any]:
    """Objects with some of these fields, one time in five with something else as the value."""
    odds = st.sampled_from([True, True, True, True, False])
    values = {name: odds.flatmap({True: value, False: others}.__getitem__) for name, value in fields.items()}
    return st.fixed_dictionaries({}, optional=values)


azure = some({"data": data, "columns": st.lists(names, max_size=4), "method": names, "index": trees})
v1 = some({"instances": data, "inputs": data, "parameters": parameters, "signature_name": names})
mlflow = some(
    {
        "dataframe_split": some({"columns": st.lists(names, max_size=4), "data": data, "index": trees}),
        "dataframe_records": st.lists(st.dictionaries(names, scalars, max_size=4), max_size=3),
        "instances": data,
        "inputs": data | st.dictionaries(names, data, max_size=2),
        "params": parameters,
    }
)
tensor = some({"name": names, "datatype": datatypes, "shape": shapes, "data": data, "parameters": parameters})
valid_tensor = rows.map(lambda of: {"name": "x", "datatype": "FP64", "shape": [len(of), 4], "data": of})
output = some({"name": names, "parameters": parameters})
v2 = some(
    {
        "id": st.text(max_size=6),
        "inputs": st.lists(valid_tensor, min_size=1, max_size=1) | st.lists(tensor, max_size=3),
        "outputs": st.lists(output, max_size=3),
        "parameters": parameters,
    }
)


def to_json(value: Any) -> bytes:
    """Like a client that does not care: NaN and numbers of any size, half characters too."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def binary(draw: st.DrawFn) -> Asked:
    """V2's binary form: JSON whose tensors point behind it, with sizes that fit or nearly do."""
    head = draw(v2)
    tail = draw(st.binary(max_size=64) | st.sampled_from([np.ones((1, 4)).tobytes(), b"\x01\0\0\0a" * 4]))
    inputs = head.get("inputs")
    if isinstance(inputs, list):
        for one in inputs:
            if isinstance(one, dict) and isinstance(one.get("parameters", {}), dict):
                sizes = st.sampled_from([len(tail), len(tail) // 2, 0, -1]) | scalars
                one["parameters"] = {**one.get("parameters", {}), "binary_data_size": draw(sizes)}
                one.pop("data", None)
    encoded = to_json(head)
    length = draw(st.sampled_from([str(len(encoded))] * 3 + [str(len(encoded) - 1), "0", "-1", "x", "9" * 30]))
    kind = draw(st.sampled_from(["application/octet-stream", "application/json", "text/plain"]))
    return "/v2/models/model/infer", encoded + tail, {"Inference-Header-Content-Length": length, "Content-Type": kind}


def as_json(path: str) -> Callable[[Any], Asked]:
    return lambda value: (path, to_json(value), {"Content-Type": "application/json"})


cells = st.sampled_from(["1", "-2.5", "", "NaN", "abc", '"a,b"', '"', "1e999", "é", "\0", "0x1"])
csv = st.lists(st.lists(cells, max_size=5).map(",".join), max_size=4).map("\n".join).map(str.encode)
PATHS = ["/score", "/v1/models/model:predict", "/invocations", "/v2/models/model/infer"]
TYPES = [
    "application/json",
    "text/csv",
    "application/octet-stream",
    "",
    "text/csv; charset=utf-16",
    "image/png",
    "a/b;;",
]
near_valid = st.one_of(
    azure.map(as_json("/score")),
    v1.map(as_json("/v1/models/model:predict")),
    mlflow.map(as_json("/invocations")),
    v2.map(as_json("/v2/models/model/infer")),
    binary(),
    csv.map(lambda body: ("/invocations", body, {"Content-Type": "text/csv"})),
)
anything = st.tuples(
    st.sampled_from(PATHS),
    st.binary(max_size=200) | trees.map(to_json),
    st.sampled_from(TYPES).map(lambda kind: {"Content-Type": kind}),
)


@st.composite
def packed(draw: st.DrawFn) -> Asked:
    """A body with a Content-Encoding, whole, cut, or another's; and one that is small until it is unpacked."""
    path, body, headers = draw(near_valid)
    pack = draw(st.sampled_from([gzip.compress, zlib.compress, bytes, lambda body: zlib.compress(body)[2:-4]]))
    content = pack(draw(st.sampled_from([body, body, bytes(LIMIT * 50)])))
    cut = draw(st.integers(0, len(content))) if draw(st.booleans()) else len(content)
    encoding = draw(st.sampled_from(["gzip", "deflate", "identity", "x-gzip", "br", "gzip, gzip", "GZIP", ""]))
    return path, content[:cut] + draw(st.sampled_from([b"", b"", b"more"])), {**headers, "Content-Encoding": encoding}


@pytest.fixture(scope="module")
def serving(iris_model: Model) -> Any:
    made = Serving(limits_of(Settings(auth="none", framework="sklearn")))
    made.load(lambda: iris_model)
    yield made
    made.close()


def check(app: Flask, asked: Asked) -> int:
    path, body, headers = asked
    response = app.test_client().post(path, data=body, headers=headers)
    assert response.status_code < 500, (response.status_code, response.get_data(), asked)
    content = response.get_data()
    if response.status_code >= 400:
        assert orjson.loads(content), asked
    elif "Inference-Header-Content-Length" in response.headers:
        orjson.loads(content[: int(response.headers["Inference-Header-Content-Length"])])
    else:
        orjson.loads(gzip.decompress(content) if response.content_encoding == "gzip" else content)
    return response.status_code


@pytest.fixture
def app(make_app: Callable[..., Flask], iris_model: Model) -> Flask:
    return make_app(iris_model, max_body_bytes=LIMIT)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("path", PATHS)
def test_the_generators_reach(app: Flask, path: str, status: int) -> None:
    """Otherwise the tests below would only ever look at refusals, or never at one."""

    def reached(asked: Asked) -> bool:
        return asked[0] == path and check(app, asked) == status

    wanted = settings(profile(5000), phases=[Phase.generate])
    assert find(near_valid, reached, settings=wanted)


@profile(60)
@given(asked=anything)
def test_anything(app: Flask, asked: Asked) -> None:
    check(app, asked)


@profile(50)
@given(asked=packed())
def test_content_encodings(app: Flask, asked: Asked) -> None:
    check(app, asked)


@profile(40)
@given(asked=near_valid, size=st.integers(1, 50), chunked=st.booleans(), declared=st.sampled_from([0, 1, -1, 10**12]))
def test_lengths_and_chunks(app: Flask, asked: Asked, size: int, chunked: bool, declared: int) -> None:
    """What the web server hands over: a stream that ends, with a Content-Length that may be wrong, or without one."""
    path, body, headers = asked

    class Pieces(io.BytesIO):
        """Gives at most `size` bytes at a time, as the web server does with a chunked body."""

        def read(self, wanted: int | None = -1) -> bytes:
            return super().read(size if wanted is None or wanted < 0 else min(size, wanted))

    environ: dict[str, Any] = {
        "wsgi.input": Pieces(body) if chunked else io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    if not chunked:
        environ["CONTENT_LENGTH"] = str(len(body) + declared)
    response = app.test_client().post(path, headers=headers, environ_overrides=environ)
    assert response.status_code < 500, response.get_data()


requests = st.builds(
    lambda *fields: dict(zip(("inputs", "outputs", "raw_input_contents", "parameters"), fields, strict=True)),
    st.lists(
        st.fixed_dictionaries(
            {"name": names, "datatype": datatypes, "shape": st.lists(st.integers(-2, 2**62) | st.just(4), max_size=4)},
            optional={"contents": st.fixed_dictionaries({"fp64_contents": st.lists(st.floats(), max_size=5)})},
        ),
        max_size=3,
    ),
    st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
    st.lists(st.binary(max_size=40) | st.just(np.ones(4).tobytes()), max_size=3),
    st.dictionaries(st.just("method"), st.fixed_dictionaries({"string_param": names}), max_size=1),
)


@profile(60)
@given(request_=requests, extra=st.binary(max_size=20), cut=st.integers(0, 5))
def test_grpc_messages(serving: Serving, request_: dict, extra: bytes, cut: int) -> None:
    fuzz_grpc(serving, request_, extra, cut)


def fuzz_grpc(serving: Serving, request_: dict, extra: bytes, cut: int) -> None:
    message = messages.ModelInferRequest(model_name="model", **request_).SerializeToString()
    message = message[: len(message) - cut] + extra
    served = ServedModel("model", "default")
    try:
        call = decode(message, served, serving.loaded_model())
        messages.ModelInferResponse.FromString(encode(score_call(serving, call), call, served))
    except RequestError as error:
        assert error.status < 500, (error.message, message)  # noqa: PT017


@profile(50)
@given(elements=st.lists(st.binary(max_size=5), max_size=5), cut=st.integers(0, 3), length=st.integers(0, 2**32 - 1))
def test_bytes_elements(serving: Serving, elements: list[bytes], cut: int, length: int) -> None:
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements) + struct.pack("<I", length)[cut:]
    shape = [max(len(elements), 1)]
    tensor = {"name": "x", "datatype": "BYTES", "shape": shape}
    fuzz_grpc(serving, {"inputs": [tensor], "raw_input_contents": [raw]}, b"", 0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("strategy", [near_valid, anything, packed()], ids=["near valid", "anything", "packed"])
def test_long(app: Flask, strategy: st.SearchStrategy[Asked]) -> None:
    @profile(5_000, derandomize=False)
    @given(strategy)
    def fuzz(asked: Asked) -> None:
        check(app, asked)

    fuzz()


@pytest.mark.slow
def test_long_grpc(serving: Serving) -> None:
    @profile(5_000, derandomize=False)
    @given(requests, st.binary(max_size=20), st.integers(0, 5))
    def fuzz(request_: dict, extra: bytes, cut: int) -> None:
        fuzz_grpc(serving, request_, extra, cut)

    fuzz()
