"""The three ways to write a `run`, as Azure ML has them, through the real app.

case                                     expected
run(data)                                the body as text; on GET the query as JSON; not UTF-8 is 400
@input_schema                            the fields of a JSON object in the types of their samples; else 400 or 415
@rawhttp                                 the request as it is, any method; the response as the script makes it
request_headers                          the headers, without the credential
imports beside the script, environment   as in Azure's container
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from werkzeug.test import TestResponse

AppOf = Callable[..., Flask]
JSON = {"Content-Type": "application/json"}


def post(app: Flask, body: Any, **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return app.test_client().post("/score", data=data, headers=JSON | headers)


def error_of(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["error"]["message"]


def test_plain_text(script_app: AppOf) -> None:
    app = script_app("plain_text")
    response = post(app, {"data": [1, 2, 3]})
    assert (response.status_code, response.get_json()) == (200, {"total": 106})
    assert response.content_type == "application/json"
    assert response.headers["x-ms-run-function-failed"] == "False"
    assert float(response.headers["x-ms-run-fn-exec-ms"]) > 0
    assert response.headers["x-ms-request-id"] == response.headers["x-request-id"]


def test_text_of_any_content_type(script_app: AppOf) -> None:
    client = script_app("headers").test_client()
    response = client.post("/score", data="äöü".encode(), headers={"Content-Type": "text/csv", "X-Mine": "a"})
    assert response.get_json()["data"] == "äöü"
    assert response.get_json()["headers"].items() >= {"Content-Type": "text/csv", "X-Mine": "a"}.items()
    assert client.post("/score").get_json()["data"] == ""
    status, said = error_of(client.post("/score", data=b"caf\xe9"))
    assert (status, "not UTF-8" in said) == (400, True)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {}),
        ("a=1&b=[1,2]&c=text&d=null&e=", {"a": 1, "b": [1, 2], "c": "text", "d": None, "e": ""}),
        ("a=x&a=2&b=%22quoted%22", {"a": ["x", 2], "b": "quoted"}),
    ],
)
def test_get_gives_the_query_as_json(script_app: AppOf, query: str, fields: dict) -> None:
    response = script_app("headers").test_client().get(f"/score?{query}")
    assert json.loads(response.get_json()["data"]) == fields


def test_the_script_does_not_see_the_credential(script_app: AppOf, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    app = script_app("headers", auth="key", keys_dir=tmp_path)
    assert post(app, "x").status_code == 401
    response = post(app, "x", Authorization="Bearer the-key")
    assert response.status_code == 200
    assert "the-key" not in response.text
    assert "Authorization" not in response.get_json()["headers"]
    open_app = script_app("headers")
    assert post(open_app, "x", Authorization="Bearer any").get_json()["headers"]["Authorization"] == "Bearer any"


def test_numpy_schema(script_app: AppOf) -> None:
    app = script_app("schema_numpy")
    assert post(app, {"data": [[1, 2, 3], [4, 5, 6]]}).get_json() == [6.0, 15.0]
    assert app.test_client().get("/score?data=[[1,2,3]]").get_json() == [6.0]
    # The sample of the schema was scored before anything else.
    assert post(app, {"data": [[1000, 0, 0]]}).get_json() == ["init", [1, 3], [2, 3], [1, 3], [1, 3]]


BAD = [
    (b"{", "not JSON"),
    (b"", "empty"),
    (b"[1]", "must be a JSON object"),
    (b"{}", "a value is missing for 'data'"),
    (b'{"data": [[1, 2]]}', "data: an array of shape (any, 3) expected, got (1, 2)"),
    (b'{"data": [["a", "b", "c"]]}', "data: ValueError"),
    (b'{"data": [[1, 2, 3], [4]]}', "data: "),
    (b'{"data": 5}', "a list of items expected"),
    (b'{"data": [[NaN, 1]]}', "got (1, 2)"),
    (b'{"data": [[NaN, 1}', "not JSON"),
    (b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}", ""),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[str(body[:20]) for body, _ in BAD])
def test_what_does_not_fit_the_schema(script_app: AppOf, body: bytes, said: str) -> None:
    status, message = error_of(post(script_app("schema_numpy"), body))
    assert status == 400
    assert said in message


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_a_schema_wants_json(script_app: AppOf, kind: str) -> None:
    app = script_app("schema_numpy")
    response = app.test_client().post("/score", data=b'{"data": [[1, 2, 3]]}', content_type=kind)
    assert (response.status_code, response.get_json()["error"]["code"]) == (415, "UnsupportedMediaType")
    accepted = app.test_client().post(
        "/score", data=b'{"data": [[1, 2, 3]]}', content_type="application/json; charset=utf-8"
    )
    assert accepted.get_json() == [6.0]


def test_pandas_schema(script_app: AppOf) -> None:
    app = script_app("schema_pandas")
    person = {"since": "2021-05-06", "city": "Köln", "age": 41, "income": 2}
    assert post(app, {"people": [person]}).get_json() == [
        {"label": "Köln42", "income": 2.0, "since": "2021-05-06T00:00:00"}
    ]
    status, said = error_of(post(app, {"people": [{"age": 1, "city": "Bonn"}]}))
    assert (status, said.endswith("got 2 columns; missing: income, since")) == (400, True)
    assert error_of(post(app, {"people": "Ada"}))[0] == 400


def test_standard_schema(script_app: AppOf) -> None:
    app = script_app("schema_standard")
    given = {"name": "ab", "count": 2, "weight": 1, "day": "2021-03-04", "payload": "Ynl0ZXM="}
    moments = {"2021-03-04T05:06:07": None, "2021-03-04 05:06:07.5 +0200": 7200.0, "2021-03-04T05:06:07+02:00": 7200.0}
    for moment, offset in moments.items():
        answered = post(app, {**given, "moment": moment}).get_json()
        assert (answered["hour"], answered["offset"]) == (5, offset)
    answered = post(app, {**given, "moment": "2021-03-04"}).get_json()
    assert answered.items() >= {"text": "abab", "weight": 2, "month": 3, "size": 5}.items()
    for name, value in {"count": "2", "day": "4.3.2021", "payload": "***", "name": None, "weight": [1]}.items():
        status, said = error_of(post(app, {**given, "moment": "2021-03-04", name: value}))
        assert (status, f"{name}: " in said) == (400, True)


def test_nested_schema(script_app: AppOf) -> None:
    app = script_app("schema_nested")
    inner = {"array": [1, 2, 3], "table": [{"a": 1, "b": 2.5}], "plain": "as it is"}
    answered = post(app, {"Inputs": {"inner": inner, "items": [[[1.5]], [[2.5]]]}})
    assert answered.get_json() == {"Results": [6, 2.5, 1.5, 2.5], "method": "predict", "plain": "as it is"}
    inner["table"] = [{"a": 1}]
    status, said = error_of(post(app, {"Inputs": {"inner": inner, "items": []}}))
    assert (status, "Inputs: inner: table: the columns a, b expected, got 1 columns; missing: b" in said) == (400, True)


def test_optional_parameters(script_app: AppOf) -> None:
    app = script_app("schema_optional")
    assert post(app, {"data": [1, 2]}).get_json() == [10, 20]
    assert post(app, {"data": [1, 2], "factor": 3}).get_json() == [3, 6]
    assert post(app, {"data": [1, 2], "factor": None}).get_json() == [0, 0]
    assert error_of(post(app, {"data": [1, 2], "factor": "x"}))[0] == 400
    assert error_of(post(app, {"factor": 3}))[0] == 400


def test_an_image_in_a_form(script_app: AppOf) -> None:
    client = script_app("raw_image").test_client()
    upload = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(upload, "JPEG")
    response = client.post("/score", data={"name": "red", "image": (io.BytesIO(upload.getvalue()), "red.jpg")})
    assert (response.status_code, response.content_type) == (200, "image/png")
    assert Image.open(io.BytesIO(response.data)).size == (2, 3)
    assert response.headers["X-Name"] == "red"
    assert response.headers.getlist("X-Several") == ["a", "b"]
    assert client.get("/score").status_code == 405


def test_raw_requests(script_app: AppOf) -> None:
    app = script_app("raw_methods")
    client = app.test_client()
    response = client.get("/score?q=a%20b")
    assert (response.get_json(), response.headers["Access-Control-Allow-Origin"]) == ({"asked": "a b"}, "*")
    options = client.options("/score")
    assert (options.status_code, options.headers.getlist("Allow")) == (204, ["GET", "POST"])
    assert "Content-Length" not in options.headers
    assert post(app, [1, 2]).get_json() == [1, 2]
    assert post(app, b"nothing").get_json() == {}
    assert post(app, b"jsonify").get_json() == {"path": "/score", "same": "POST"}
    assert post(app, b"strange").status_code == 299
    teapot = post(app, b"teapot")
    assert (teapot.status_code, teapot.data, teapot.headers["x-ms-run-function-failed"]) == (
        418,
        b"short and stout",
        "False",
    )
    for body, status in ((b"broken", 503), (b"failed", 200)):
        response = post(app, body)
        assert response.status_code == status
        assert response.headers.getlist("x-ms-run-function-failed") == ["True"]
        assert len(response.headers.getlist("Content-Length")) == 1


def test_raw_requests_by_the_newer_import(script_app: AppOf) -> None:
    response = post(script_app("raw_newer"), {"a": 1}, **{"X-Mine": "yes"})
    assert (response.get_json(), response.headers["X-Seen"]) == ({"a": 1}, "yes")


@pytest.mark.parametrize("script", ["plain_text", "schema_numpy"])
def test_methods_without_rawhttp(script_app: AppOf, script: str, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    client = script_app(script, auth="key", keys_dir=tmp_path).test_client()
    # A browser asks before it has the key.
    assert (client.options("/score").status_code, client.options("/score").get_json()) == (200, "")
    assert client.get("/score").status_code == 401
    for method in ("PUT", "DELETE", "PATCH"):
        assert client.open("/score", method=method).status_code == 405


def test_environment_and_modules_beside_the_script(
    script_app: AppOf, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    app = script_app("environment", "score_rules", timeout_seconds=2.5)
    response = post(app, "ab").get_json()
    folder = str((tmp_path / "environment").resolve())
    assert response["doubled"] == "abab"
    assert response["environment"] == {
        "AZUREML_MODEL_DIR": folder,
        "AZUREML_ENTRY_SCRIPT": "score.py",
        "AML_APP_ROOT": folder,
        "SCORING_TIMEOUT_MS": "2500",
        "WORKER_COUNT": "1",
    }
    assert capsys.readouterr().out == "init was called\nscoring ab\n"


def test_a_script_in_a_subfolder(script_app: AppOf, script_folder: Callable[..., Path]) -> None:
    """Modules are found beside the script and in the model folder."""
    folder = script_folder("environment", "score_rules")
    (folder / "src").mkdir()
    (folder / "score.py").rename(folder / "src" / "json.py")
    response = post(script_app(folder, entry_script="src/json.py"), "ab").get_json()
    assert response["environment"]["AZUREML_ENTRY_SCRIPT"] == "src/json.py"


def test_async_functions(script_app: AppOf) -> None:
    app = script_app("async_run")
    assert post(app, "x").get_json() == {"ready": "yes", "data": "x"}
    assert post(app, "stream a b").text == "streamab"
