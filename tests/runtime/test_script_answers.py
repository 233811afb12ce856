"""What a script may return, and what happens when it raises.

case                       expected
any value                  its JSON; None is {}, a text is a JSON string, NumPy and pandas are understood
no form in JSON            500 in Azure's words
run raises, sys.exit       500 in Azure's words; the log has the place and not the message
generators, streams        pieces as they come; a failure before the first is a 500, a later one ends it
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

AppOf = Callable[..., Flask]

ANSWERS = {
    "none": {},
    "text": 'a "text"',
    "json": '{"a": 1}',
    "number": 0.5,
    "array": [[0, 3], [1, 4], [2, 5]],
    "nan": [1.0, None],
    "mixed": {"a": 3, "b": [True, [1]], "5": [1, "x"]},
    "table": [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
    "series": [1.5, 2.5],
    "time": ["2020-01-31", "2020-01-31T12:00:00", "2020-01-31T00:00:00"],
    "dataclass": {"x": 3},
    "decimal": 1.5,
    "large": 2**70,
}
FAILED = b'{"message":"An unexpected error occurred in scoring script. Check the logs for more info."}'


def post(app: Flask, data: str | bytes) -> TestResponse:
    return app.test_client().post("/score", data=data)


def failed(response: TestResponse) -> bool:
    assert (response.status_code, response.data) == (500, FAILED)
    assert response.content_type == "application/json"
    return response.headers.getlist("x-ms-run-function-failed") == ["True"]


def test_values(script_app: AppOf) -> None:
    app = script_app("returns")
    for name, expected in ANSWERS.items():
        response = post(app, name)
        assert (response.status_code, response.content_type) == (200, "application/json"), name
        assert json.loads(response.data) == expected, name


@pytest.mark.parametrize(("name", "said"), [("bytes", "bytes"), ("unknown", "score.Unknown cannot be written as JSON")])
def test_what_json_cannot_say(script_app: AppOf, caplog: pytest.LogCaptureFixture, name: str, said: str) -> None:
    assert failed(post(script_app("returns"), name))
    assert said in caplog.text


def test_run_raises(script_app: AppOf, caplog: pytest.LogCaptureFixture) -> None:
    app = script_app("fails")
    assert failed(post(app, "the payload"))
    (record,) = [record for record in caplog.records if "KeyError" in record.message]
    assert record.exc_info
    assert "the payload" not in record.message
    assert failed(post(app, "exit"))
    response = post(app, "http")
    assert (response.status_code, response.data) == (502, b"given up")
    assert response.headers.getlist("x-ms-run-function-failed") == ["True"]
    metrics = app.test_client().get("/metrics").text
    assert re.search(r'^scoring_errors_total{code="ModelFailed".*} 3\.0$', metrics, re.MULTILINE)


def test_the_message_is_logged_for_those_who_ask(script_app: AppOf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert failed(post(script_app("fails"), "x"))
    assert "not in the table: x" in caplog.text


def test_generators(script_app: AppOf) -> None:
    app = script_app("stream_text")
    response = post(app, "one two three")
    assert (response.status_code, response.data) == (200, b"one\ntwo\nthree\n")
    assert response.content_type == "text/plain; charset=utf-8"
    assert "Content-Length" not in response.headers
    response = post(app, "objects a")
    assert (response.content_type, response.data) == ("application/x-ndjson", b'{"word":"objects"}\n{"word":"a"}\n')
    assert post(app, "").data == b""
    assert post(app, "closed?").get_json() == ["one two three", "objects a", ""]


def test_generators_that_fail(script_app: AppOf, caplog: pytest.LogCaptureFixture) -> None:
    app = script_app("stream_text")
    assert failed(post(app, "fails at once"))
    assert post(app, "a fails b").data == b"a\n"
    assert "the payload" not in "".join(record.message for record in caplog.records)
    assert post(app, "closed?").get_json() == ["a fails b"]


def test_a_client_that_leaves(script_app: AppOf) -> None:
    app = script_app("stream_text")
    response = app.test_client().post("/score", data="a b c", buffered=False)
    pieces: Any = iter(response.response)
    assert next(pieces) == b"a\n"
    response.close()
    assert post(app, "closed?").get_json() == ["a b c"]


def test_streamed_responses(script_app: AppOf) -> None:
    client = script_app("stream_response").test_client()
    for response in (client.get("/score?n=3"), client.post("/score?n=3")):
        assert response.data == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        assert float(response.headers["x-ms-run-fn-exec-ms"]) > 0
