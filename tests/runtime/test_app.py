"""The HTTP surface, on the real Flask app with a real model; scoring by every way to an answer."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from scoring_runtime import errors
from scoring_runtime.frameworks import Model
from scoring_runtime.tensors import Tensors
from tests.runtime.models import Echo

FLOWER = [[5.1, 3.5, 1.4, 0.2]]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def app(every_way: Any, iris_model: Model) -> Flask:
    return every_way(iris_model, max_body_bytes=1000, path_prefix="/team/iris")


def post(app: Flask, body: Any, path: str = "/score", **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().post(path, data=data, headers=JSON | names)


def refused(response: TestResponse, status: int, code: str) -> str:
    """Check the form of an error and return its message."""
    assert response.status_code == status, response.data
    assert response.content_type == "application/json"
    body = response.get_json()
    assert body["error"]["code"] == code
    assert body["requestId"] == response.headers["x-request-id"] == response.headers["x-ms-request-id"]
    assert int(response.headers["Content-Length"]) == len(response.data)
    assert body.keys() == {"error", "requestId"}
    assert "Traceback" not in body["error"]["message"]
    return str(body["error"]["message"])


def test_scoring(app: Flask) -> None:
    response = post(app, {"data": [*FLOWER, [6.7, 3.0, 5.2, 2.3]]})
    assert (response.status_code, response.get_json()) == (200, [0, 2])
    assert response.content_type == "application/json"
    assert response.headers["x-ms-run-function-failed"] == "False"
    assert float(response.headers["x-ms-run-fn-exec-ms"]) > 0


def test_the_path_prefix_works_beside_the_bare_path(app: Flask) -> None:
    assert post(app, {"data": FLOWER}, "/team/iris/score").get_json() == [0]
    client = app.test_client()
    assert client.get("/team/iris").data == client.get("/team/iris/").data == client.get("/").data == b"Healthy"
    assert client.get("/team/iris/readyz").status_code == 200
    refused(client.get("/team/iriscore"), 404, "NotFound")


def test_probabilities(app: Flask) -> None:
    (row,) = post(app, {"data": FLOWER, "method": "predict_proba"}).get_json()
    assert len(row) == 3
    assert sum(row) == pytest.approx(1)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"{", "InvalidInput", "not JSON"),
        ({}, "InvalidInput", 'no "data"'),
        ({"data": [[1, 2], [3]]}, "InvalidInput", "row 1 is a list of 1 values"),
        ({"data": [[1, 2]]}, "InvalidInput", "expects 4 features a row; got 2"),
        ({"data": [1, 2]}, "InvalidInput", "must be a list of rows of 4 features"),
        ({"data": [{"a": 1}]}, "InvalidInput", "fitted without column names"),
        ({"data": FLOWER, "method": "fit"}, "InvalidInput", "has no method 'fit'; it has predict, predict_proba"),
        ({"data": [["a", "b", "c", "d"]]}, "RejectedByModel", "could not convert string to float"),
        ({"data": [[1, 2, 3, None]]}, "RejectedByModel", "NaN"),
    ],
)
def test_bad_requests(app: Flask, body: Any, code: str, said: str) -> None:
    assert said in refused(post(app, body), 400, code)


def test_wrong_content_type(app: Flask) -> None:
    response = app.test_client().post("/score", data="a,b", content_type="text/csv")
    assert "application/json" in refused(response, 415, "UnsupportedMediaType")


def test_body_too_large_by_its_length(app: Flask) -> None:
    assert "1000 bytes" in refused(post(app, b" " * 1001), 413, "BodyTooLarge")


def test_body_too_large_without_a_length(app: Flask) -> None:
    def chunked(size: int) -> TestResponse:
        from io import BytesIO

        stream = BytesIO(json.dumps({"data": FLOWER}).encode().ljust(size))
        environment = {"wsgi.input_terminated": True, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
        return app.test_client().post("/score", input_stream=stream, headers=JSON, environ_overrides=environment)

    assert chunked(1000).get_json() == [0]
    refused(chunked(1001), 413, "BodyTooLarge")


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
def test_compressed_bodies(app: Flask, encoding: str, compress: Any) -> None:
    body = json.dumps({"data": FLOWER}).encode()
    assert post(app, compress(body), Content_Encoding=encoding).get_json() == [0]


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_a_body_that_grows_beyond_the_limit(app: Flask, compress: Any) -> None:
    bomb = compress(b" " * 1001)
    assert len(bomb) < 100
    encoding = "gzip" if compress is gzip.compress else "deflate"
    refused(post(app, bomb, Content_Encoding=encoding), 413, "BodyTooLarge")


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"{}", mtime=0)[:-5], gzip.compress(b"{}", mtime=0) + b"more", b""],
    ids=["other", "cut off", "followed", "empty"],
)
def test_damaged_compression(app: Flask, body: bytes) -> None:
    refused(post(app, body, Content_Encoding="gzip"), 400, "InvalidRequest")


def test_unknown_compression(app: Flask) -> None:
    response = post(app, b"{}", Content_Encoding="br")
    refused(response, 415, "UnsupportedMediaType")
    assert response.headers["Accept-Encoding"] == "gzip, deflate"


def test_a_body_shorter_than_its_length(app: Flask) -> None:
    response = app.test_client().post("/score", data=b"{}", headers=JSON, environ_overrides={"CONTENT_LENGTH": "10"})
    refused(response, 400, "InvalidRequest")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_methods_that_do_not_score(app: Flask, method: str) -> None:
    response = app.test_client().open("/score", method=method)
    refused(response, 405, "MethodNotAllowed")
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_head_and_options(app: Flask) -> None:
    client = app.test_client()
    assert (client.head("/healthz").status_code, client.head("/healthz").data) == (200, b"")
    assert client.head("/score").status_code == 405
    options = client.options("/score", headers={"Origin": "https://elsewhere.example"})
    assert (options.status_code, set(options.headers["Allow"].split(", "))) == (200, {"OPTIONS", "POST"})
    assert not [name for name, _ in options.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", ["/nope", "/score/", "/score/x", "/x//score", "/../etc/passwd", "/static/x", "/\xff"])
def test_unknown_paths(app: Flask, path: str) -> None:
    for method in ("GET", "POST"):
        response = app.test_client().open("/", method=method, environ_overrides={"PATH_INFO": path})
        refused(response, 404, "NotFound")


def test_request_ids_are_echoed_or_made(app: Flask) -> None:
    response = post(app, {"data": FLOWER}, x_request_id="a-b", x_ms_client_request_id="mine")
    assert response.headers["x-request-id"] == response.headers["x-ms-request-id"] == "a-b"
    assert response.headers["x-ms-client-request-id"] == "mine"
    assert post(app, {"data": FLOWER}, x_ms_request_id="c").headers["x-request-id"] == "c"
    made = {app.test_client().get("/healthz").headers["x-request-id"] for _ in range(50)}
    assert len(made) == 50


@pytest.mark.parametrize("name", ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"])
def test_a_request_id_of_more_than_100_characters(app: Flask, name: str) -> None:
    assert post(app, {"data": FLOWER}, **{name: "x" * 100}).status_code == 200
    refused(post(app, {"data": FLOWER}, **{name: "x" * 101}), 431, "RequestIdTooLong")
    refused(app.test_client().get("/healthz", headers={name: "x" * 101}), 431, "RequestIdTooLong")


def test_a_request_id_that_is_no_text(app: Flask) -> None:
    refused(post(app, {"data": FLOWER}, x_request_id="caf\xe9"), 400, "InvalidRequest")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=300) | st.binary(max_size=40).map(lambda part: b'{"data": [[1,2,3,' + part + b"]]}"),
    kind=st.sampled_from(["application/json", "text/plain", ""]),
    encoding=st.sampled_from(["", "gzip", "deflate", "identity", "zstd"]),
)
def test_no_bytes_are_the_servers_fault(app: Flask, body: bytes, kind: str, encoding: str) -> None:
    response = app.test_client().post("/score", data=body, headers={"Content-Type": kind, "Content-Encoding": encoding})
    assert response.status_code in {200, 400, 413, 415}
    json.loads(response.data)


class Broken(Echo):
    """A model that fails in the ways that models fail."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        raise self.error


def test_a_model_that_fails_tells_nothing_of_its_inside(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(Broken(KeyError("the payload")))
    response = post(app, {"data": [["the payload"]]})
    message = refused(response, 500, "ModelFailed")
    assert "the payload" not in message
    assert response.headers["x-ms-run-function-failed"] == "True"
    assert post(app, {"data": [["again"]]}).status_code == 500


def test_a_fault_of_our_own_is_json_too(every_way: Any) -> None:
    class Worse(Broken):
        def prepare(self, inputs: Tensors, method: str) -> Tensors:
            raise RuntimeError("the payload")

    app = every_way(Worse(RuntimeError()))
    assert "payload" not in refused(post(app, {"data": [[1]]}), 500, "InternalError")


def test_before_the_model_is_loaded(iris_model: Model) -> None:
    from scoring_runtime.app import create_app
    from scoring_runtime.batching import Limits
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

    serving = Serving(Limits())
    app = create_app(Settings(auth="none"), serving)
    client = app.test_client()
    assert (client.get("/healthz").status_code, client.get("/").status_code) == (200, 200)
    assert (client.get("/readyz").status_code, client.get("/readyz").get_json()) == (503, {"state": "loading"})
    assert client.get("/load").get_json() == {"busy": 0, "queued": 0, "slots": 8}
    assert client.get("/metrics").status_code == 200
    response = post(app, {"data": FLOWER})
    refused(response, 503, "NotReady")
    assert response.headers["Retry-After"] == "1"

    serving.load(lambda: iris_model)
    assert (client.get("/readyz").status_code, client.get("/readyz").get_json()) == (200, {"state": "ready"})
    assert post(app, {"data": FLOWER}).get_json() == [0]

    serving.drain()
    assert (client.get("/readyz").status_code, client.get("/readyz").get_json()) == (503, {"state": "draining"})
    assert post(app, {"data": FLOWER}).get_json() == [0]
    assert client.get("/healthz").status_code == 200
    serving.close()


def test_keys(every_way: Any, iris_model: Model, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    app = every_way(iris_model, auth="key", keys_dir=tmp_path)
    assert post(app, {"data": FLOWER}, Authorization="Bearer the-key").get_json() == [0]
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = post(app, {"data": FLOWER}, **headers)
        refused(response, 401, "Unauthorized")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    refused(post(app, b"not even JSON"), 401, "Unauthorized")
    client = app.test_client()
    for path in ("/", "/healthz", "/readyz", "/metrics", "/load"):
        assert client.get(path).status_code == 200, path


def test_results_that_json_cannot_say(make_app: Any) -> None:
    class Strange(Broken):
        def predict(self, inputs: Tensors, method: str) -> Tensors:
            return Tensors((np.array([np.nan, np.inf, 1.0]),))

    assert post(make_app(Strange(RuntimeError())), {"data": [[1]] * 3}).data == b"[null,null,1.0]"


def test_every_error_code_has_one_status() -> None:
    codes = [kind.code for kind in errors.RequestError.__subclasses__()]
    assert len(codes) == len(set(codes))


def test_making_an_app_touches_nothing(iris_model: Model) -> None:
    """Two apps in one process do not meet: no global registry, no threads."""
    import threading

    from scoring_runtime.app import create_app
    from scoring_runtime.batching import Limits
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

    before = threading.active_count()
    first = create_app(Settings(auth="none"), Serving(Limits()))
    second = create_app(Settings(auth="none"), Serving(Limits()))
    assert threading.active_count() == before
    post(first, {"data": FLOWER})
    counted = 'scoring_requests_total{code="503",protocol="azure"}'
    assert counted in first.test_client().get("/metrics").text
    assert counted not in second.test_client().get("/metrics").text
