"""The Open Inference Protocol V2 over HTTP, on the real app with a real model, by every way to an answer.

| request | |
|---|---|
| health, metadata | live, ready, server, model, with and without the version; unknown model and version |
| infer in JSON | flat, nested, by method, several methods at once, id, columns of a table by name |
| infer in binary | in, out, both, mixed with JSON; offsets that no dtype is aligned to |
| refusals | shape, size, dtype, names, parameters: 400 in the protocol's form, which says what is wrong |
| compression | in and out, gzip and deflate, only when asked for and worth it |
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask import Flask
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from werkzeug.test import TestResponse

from scoring_runtime.frameworks import Model
from scoring_runtime.frameworks.sklearn import SklearnModel
from scoring_runtime.tensors import Tensors
from tests.runtime.models import Echo

MODEL = "/v2/models/iris"
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def app(every_way: Any, iris_model: Model) -> Flask:
    return every_way(iris_model, model_name="iris", model_version="v3", path_prefix="/team")


def tensor(rows: Any = FLOWERS, **changes: Any) -> dict:
    shape = list(np.shape(rows))
    return {"name": "input", "shape": shape, "datatype": "FP64", "data": rows} | changes


def infer(app: Flask, body: Any, path: str = f"{MODEL}/infer", **headers: str) -> TestResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().post(path, data=content, headers={"Content-Type": "application/json"} | names)


def refused(response: TestResponse, status: int = 400) -> str:
    assert response.status_code == status, response.data
    assert response.content_type == "application/json"
    assert response.get_json().keys() == {"error"}
    return str(response.get_json()["error"])


def test_health_and_metadata(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/v2").get_json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}
    for path in (MODEL, f"{MODEL}/versions/v3", f"/team{MODEL}"):
        about = client.get(path).get_json()
        assert (about["name"], about["versions"], about["platform"]) == ("iris", ["v3"], "sklearn")
        assert [output["name"] for output in about["outputs"]] == ["predict", "predict_proba", "decision_function"]
        assert [(one["datatype"], one["shape"]) for one in about["inputs"]] == [("FP64", [-1, 4])]
        assert client.get(f"{path}/ready").get_json() == {"name": "iris", "ready": True}


@pytest.mark.parametrize(
    "path", ["/v2/models/other/infer", f"{MODEL}/versions/v4/infer", f"{MODEL}/versions/infer", "/v2/nothing"]
)
def test_unknown_models_and_versions(app: Flask, path: str) -> None:
    assert "there is nothing at" in refused(infer(app, {"inputs": [tensor()]}, path), 404)
    assert refused(app.test_client().get(path.removesuffix("/infer") + "/ready"), 404)


def test_wrong_method(app: Flask) -> None:
    response = app.test_client().get(f"{MODEL}/infer")
    assert "use OPTIONS, POST" in refused(response, 405)
    assert response.headers["Allow"] == "OPTIONS, POST"


@pytest.mark.parametrize("path", [f"{MODEL}/infer", f"{MODEL}/versions/v3/infer", f"/team{MODEL}/infer"])
def test_json(app: Flask, path: str) -> None:
    response = infer(app, {"id": "seven", "inputs": [tensor()]}, path)
    assert response.get_json() == {
        "model_name": "iris",
        "model_version": "v3",
        "id": "seven",
        "outputs": [{"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 2]}],
    }
    assert response.content_type == "application/json"
    assert response.headers["x-request-id"]


def test_flat_data(app: Flask) -> None:
    body = infer(app, {"inputs": [tensor(np.ravel(FLOWERS).tolist(), shape=[2, 4])]}).get_json()
    assert body["outputs"][0]["data"] == [0, 2]
    assert "id" not in body


def test_methods_by_parameter_and_by_output(app: Flask, iris_model: Model) -> None:
    expected = iris_model.predict(Tensors((np.array(FLOWERS),)), "predict_proba").arrays[0]
    by_parameter = infer(app, {"inputs": [tensor()], "parameters": {"method": "predict_proba"}}).get_json()
    by_output = infer(app, {"inputs": [tensor()], "outputs": [{"name": "predict_proba"}]}).get_json()
    assert by_parameter == by_output
    (output,) = by_output["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("predict_proba", "FP64", [2, 3])
    np.testing.assert_allclose(np.reshape(output["data"], (2, 3)), expected)
    both = infer(app, {"inputs": [tensor()], "outputs": [{"name": "predict_proba"}, {"name": "predict"}]}).get_json()
    assert [one["name"] for one in both["outputs"]] == ["predict_proba", "predict"]
    assert (both["outputs"][0], both["outputs"][1]["data"]) == (output, [0, 2])


def binary(head: dict, *tails: bytes, padding: int = 0) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(head).encode() + b" " * padding
    return text + b"".join(tails), {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}


def outputs_of(response: TestResponse) -> dict[str, Any]:
    """The outputs of an answer by name; binary ones as their bytes."""
    assert response.status_code == 200, response.data
    length = int(response.headers.get(LENGTH, len(response.data)))
    tail = response.data[length:]
    found = {}
    for output in json.loads(response.data[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        found[output["name"]] = output["data"] if size is None else tail[:size]
        tail = tail[size or 0 :]
    assert tail == b""
    assert int(response.headers["Content-Length"]) == len(response.data)
    return found


@pytest.mark.parametrize("padding", range(9))
def test_binary_in_at_any_offset(app: Flask, padding: int) -> None:
    raw = np.array(FLOWERS, "<f4").tobytes()
    one = {"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    body, headers = binary({"inputs": [one]}, raw, padding=padding)
    assert outputs_of(infer(app, body, **headers)) == {"predict": [0, 2]}


def test_binary_out(app: Flask) -> None:
    everything = infer(app, {"inputs": [tensor()], "parameters": {"binary_data_output": True}})
    assert everything.content_type == "application/octet-stream"
    assert outputs_of(everything) == {"predict": np.array([0, 2], "<i8").tobytes()}
    wanted = [{"name": "predict", "parameters": {"binary_data": False}}, {"name": "predict_proba"}]
    mixed = infer(app, {"inputs": [tensor()], "outputs": wanted, "parameters": {"binary_data_output": True}})
    found = outputs_of(mixed)
    assert found["predict"] == [0, 2]
    assert np.frombuffer(found["predict_proba"]).reshape(2, 3).sum() == pytest.approx(2)


@pytest.fixture(scope="module")
def table_model() -> SklearnModel:
    table = pd.DataFrame({"small": [0.0, 1, 2, 3], "large": [9.0, 7, 5, 3]})
    return SklearnModel(make_pipeline(StandardScaler(), LogisticRegression()).fit(table, [0, 0, 1, 1]))


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_columns_by_name_in_any_order(every_way: Any, table_model: SklearnModel, shape: list[int]) -> None:
    app = every_way(table_model)
    raw = np.array([9.0, 3.0]).tobytes()
    large = {"name": "large", "shape": shape, "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    small = {"name": "small", "shape": shape, "datatype": "INT32", "data": [0, 3]}
    body, headers = binary({"inputs": [large, small]}, raw)
    assert outputs_of(infer(app, body, "/v2/models/model/infer", **headers)) == {"predict": [0, 1]}
    together = tensor([[0, 9], [3, 3]], datatype="INT64")
    assert outputs_of(infer(app, {"inputs": [together]}, "/v2/models/model/infer")) == {"predict": [0, 1]}
    message = refused(infer(app, {"inputs": [small]}, "/v2/models/model/infer"))
    assert "missing: large" in message


def test_bytes_in_json_and_in_binary(make_app: Any) -> None:
    app = make_app(Echo())
    texts = {"name": "t", "shape": [2, 1], "datatype": "BYTES", "data": [["Köln"], [""]]}
    assert outputs_of(infer(app, {"inputs": [texts]}, "/v2/models/model/infer")) == {"predict": ["Köln", ""]}
    raw = b"\x05\0\0\0K\xc3\xb6ln\0\0\0\0"
    texts = {"name": "t", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    body, headers = binary({"inputs": [texts], "parameters": {"binary_data_output": True}}, raw)
    assert outputs_of(infer(app, body, "/v2/models/model/infer", **headers)) == {"predict": raw}
    image = b"\x04\0\0\0\x89PNG"
    one = {"name": "t", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(image)}}
    body, headers = binary({"inputs": [one], "parameters": {"binary_data_output": True}}, image)
    assert outputs_of(infer(app, body, "/v2/models/model/infer", **headers)) == {"predict": image}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON"),
        ({}, 'no "inputs"'),
        ({"inputs": []}, 'no "inputs"'),
        ({"inputs": [3]}, 'an object with a "name"'),
        ({"inputs": [tensor(datatype=None)]}, 'no "datatype"'),
        ({"inputs": [tensor(datatype="FLOAT")]}, "unknown datatype 'FLOAT'; known are BOOL"),
        ({"inputs": [tensor(shape=None)]}, 'no "shape"'),
        ({"inputs": [tensor(shape=[2, True])]}, 'no "shape"'),
        ({"inputs": [tensor(shape=[])]}, "has 0 axes"),
        ({"inputs": [tensor(shape=[0, 4])]}, "each axis must be at least 1"),
        ({"inputs": [tensor(shape=[-1, 4])]}, "each axis must be at least 1"),
        ({"inputs": [tensor(shape=[2, 3])]}, 'the "data" of input input is nested as [2, 4]; its shape is [2, 3]'),
        ({"inputs": [tensor([1.0, 2, 3], shape=[1, 4])]}, 'has 3 values in "data"; the shape [1, 4] has 4'),
        ({"inputs": [tensor(shape=[1 << 40, 1 << 40])]}, "nested as"),
        ({"inputs": [tensor([1.5] * 4, shape=[1, 4], datatype="INT64")]}, "is INT64 and has the number 1.5"),
        ({"inputs": [tensor([300] * 4, shape=[1, 4], datatype="UINT8")]}, "too large or too small for UINT8"),
        ({"inputs": [tensor([-1] * 4, shape=[1, 4], datatype="UINT64")]}, "too large or too small for UINT64"),
        ({"inputs": [tensor(["1"] * 4, shape=[1, 4])]}, "is FP64 and has a text"),
        ({"inputs": [tensor([1] * 4, shape=[1, 4], datatype="BOOL")]}, "is BOOL and has the number 1"),
        ({"inputs": [tensor([1] * 4, shape=[1, 4], datatype="BYTES")]}, "is BYTES and has the number 1"),
        ({"inputs": [tensor(data=[[1, 2], [3]], shape=[2])]}, "is FP64 and has a list"),
        ({"inputs": [tensor(data="AAAA")]}, 'has no "data", a list'),
        ({"inputs": [tensor(), tensor()]}, "two inputs have the same name"),
        ({"inputs": [tensor(), tensor([[1.0]], name="b")]}, "the first axis is the row"),
        ({"inputs": [tensor()], "id": 7}, '"id" must be a string'),
        ({"inputs": [tensor()], "parameters": []}, 'the "parameters" of the request must be an object'),
        ({"inputs": [tensor()], "parameters": {"method": 1}}, '"method" must be a string'),
        ({"inputs": [tensor()], "parameters": {"method": "fit"}}, "no method 'fit'; it has predict, predict_proba"),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, "must be true or false"),
        ({"inputs": [tensor()], "outputs": {}}, '"outputs" must be a list'),
        ({"inputs": [tensor()], "outputs": [{}]}, 'must be an object with a "name"'),
        ({"inputs": [tensor()], "outputs": [{"name": "nope"}]}, "the model has no output nope; it has predict"),
        ({"inputs": [tensor()], "outputs": [{"name": "predict"}] * 2}, "a name twice"),
        ({"inputs": [tensor()], "outputs": [{"name": "x", "parameters": {"classification": 2}}]}, "not supported"),
        ({"inputs": [tensor(parameters={"binary_data_size": 4})]}, "binary_data_size is 4, and 0 bytes follow"),
        ({"inputs": [tensor([[1.0]])]}, "expects 4 features a row"),
    ],
)
def test_refusals_say_what_is_wrong(make_app: Any, iris_model: Model, body: Any, said: str) -> None:
    assert said in refused(infer(make_app(iris_model, model_name="iris"), body))


ONE = {"name": "x", "shape": [1, 4], "datatype": "FP32"}


SIXTEEN = {"parameters": {"binary_data_size": 16}}
A_TEXT = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 4}}


@pytest.mark.parametrize(
    ("one", "tail", "said"),
    [
        (ONE | SIXTEEN, b"\0" * 15, "binary_data_size is 16, and 15 bytes follow"),
        (ONE | SIXTEEN, b"\0" * 17, "1 bytes at the end of the body"),
        (ONE | {"parameters": {"binary_data_size": 15}}, b"\0" * 15, "has 15 bytes; FP32 of shape [1, 4] has 16"),
        (ONE | {"parameters": {"binary_data_size": -1}}, b"", "binary_data_size is -1"),
        (ONE | {"parameters": {"binary_data_size": True}}, b"\0", "binary_data_size is True"),
        (ONE | {"parameters": {"binary_data_size": 0}, "data": []}, b"", "send one of them"),
        (A_TEXT, b"\xff\xff\xff\xff", "is not 1 elements of BYTES"),
    ],
)
def test_binary_refusals(make_app: Any, iris_model: Model, one: dict, tail: bytes, said: str) -> None:
    body, headers = binary({"inputs": [one]}, tail)
    assert said in refused(infer(make_app(iris_model, model_name="iris"), body, **headers))


@pytest.mark.parametrize(
    ("length", "said"),
    [(length, f"{LENGTH} must be the length") for length in ("x", "0", "-1", "99999", "\xb2", "")]
    + [("3", "not JSON")],
)
def test_lengths_that_cannot_be(make_app: Any, iris_model: Model, length: str, said: str) -> None:
    body, headers = binary({"inputs": [ONE]})
    assert said in refused(infer(make_app(iris_model, model_name="iris"), body, **headers | {LENGTH: length}))


def test_other_content_types(app: Flask) -> None:
    assert "send `Content-Type: application/json`" in refused(infer(app, b"1,2", Content_Type="text/csv"), 415)


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, gzip;q=0.5, deflate", "gzip"),
        ("gzip;q=0, deflate;q=0.000", None),
        ("identity", None),
        ("", None),
    ],
)
def test_compressed_answers(app: Flask, accept: str, encoding: str | None) -> None:
    body = {"inputs": [tensor(FLOWERS * 300)], "parameters": {"binary_data_output": True}}
    response = infer(app, body, Accept_Encoding=accept)
    assert response.headers.get("Content-Encoding") == encoding
    assert int(response.headers["Content-Length"]) == len(response.data)
    inflate = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[encoding]
    content = inflate(response.data)
    length = int(response.headers[LENGTH])
    assert json.loads(content[:length])["outputs"][0]["shape"] == [600]
    assert np.frombuffer(content[length:], "<i8").tolist() == [0, 2] * 300


def test_small_answers_are_not_compressed(app: Flask) -> None:
    assert "Content-Encoding" not in infer(app, {"inputs": [tensor()]}, Accept_Encoding="gzip").headers


def test_compressed_requests(app: Flask) -> None:
    raw = np.array(FLOWERS, "<f4").tobytes()
    one = {"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    body, headers = binary({"inputs": [one]}, raw)
    response = infer(app, gzip.compress(body), **headers, Content_Encoding="gzip")
    assert outputs_of(response) == {"predict": [0, 2]}


def test_keys_and_states(every_way: Any, iris_model: Model, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    app = every_way(iris_model, auth="key", keys_dir=tmp_path, model_name="iris")
    response = infer(app, {"inputs": [tensor()]})
    assert "Bearer" in refused(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    client, key = app.test_client(), {"Authorization": "Bearer the-key"}
    assert infer(app, {"inputs": [tensor()]}, **key).status_code == 200
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", f"{MODEL}/ready"):
        assert client.get(path).status_code == 200
    assert refused(client.get(MODEL), 401)
    assert client.get(MODEL, headers=key).status_code == 200
    open_app = every_way(iris_model, auth="key", keys_dir=tmp_path, model_name="iris", docs_auth="none")
    assert open_app.test_client().get(MODEL).status_code == 200


def test_before_the_model_is_loaded() -> None:
    from scoring_runtime.app import create_app
    from scoring_runtime.batching import Limits
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

    app = create_app(Settings(auth="none", model_name="iris"), Serving(Limits()))
    client = app.test_client()
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", f"{MODEL}/ready"):
        assert (client.get(path).status_code, client.get(path).get_json()["ready"]) == (503, False)
    for response in (client.get(MODEL), infer(app, {"inputs": [tensor()]})):
        assert "being loaded" in refused(response, 503)
        assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", ["a/b", "a b", "", "<x>", "..", "a:b"])
def test_names_that_would_not_fit_a_path(name: str) -> None:
    from scoring_runtime.settings import Settings

    with pytest.raises(ValueError, match="it is part of paths"):
        Settings(model_name=name)
    with pytest.raises(ValueError, match="it is part of paths"):
        Settings(model_version=name)
