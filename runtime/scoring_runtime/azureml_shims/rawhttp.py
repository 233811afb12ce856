"""`azureml.contrib.services`: an entry script that sees the HTTP request itself, and answers with a response."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from flask import Flask, Request, Response
from werkzeug.test import EnvironBuilder

from scoring_runtime.azureml_shims import RAWHTTP_MARK
from scoring_runtime.messages import HttpRequest

_Run = TypeVar("_Run", bound=Callable[..., Any])
FAILED_HEADER = "x-ms-run-function-failed"


def rawhttp(func: _Run) -> _Run:
    """Mark `run` as one that takes the request instead of its body."""
    setattr(func, RAWHTTP_MARK, True)
    return func


class AMLRequest(Request):
    """What a `run` marked with @rawhttp gets: a Flask request."""


class AMLResponse(Response):
    """A response with a status and headers of the script's choice.

    `json_str` asks for `message` as JSON; a message that is None is the JSON object {}. `run_function_failed` says in
    the header x-ms-run-function-failed, and in the metrics, that the script itself calls this a failure.
    """

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] | None = None,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        if message is None or json_str:
            body = json.dumps({} if message is None else message)
            super().__init__(body, status=status_code, mimetype="application/json")
        else:
            super().__init__(message, status=status_code)
        self.headers[FAILED_HEADER] = str(bool(run_function_failed))
        for name, value in (response_headers or {}).items():
            if name.lower() == "content-type":
                self.headers[name] = value
            else:
                # Azure's rule: a comma stands between the values of a header that is sent more than once.
                for part in str(value).split(","):
                    self.headers.add(name, part.strip())


_app = Flask("entry_script", static_folder=None)
_app.request_class = AMLRequest


@contextmanager
def open_request(request: HttpRequest) -> Iterator[AMLRequest]:
    """Give the request as an AMLRequest; meanwhile `flask.request`, `flask.jsonify` and their like work too."""
    builder = EnvironBuilder(
        path=request.path,
        method=request.method,
        query_string=request.query,
        headers=list(request.headers),
        data=request.body,
    )
    # The body was read and decompressed; what its headers say of the way it came is no longer so.
    for name in ("Transfer-Encoding", "Content-Encoding"):
        builder.headers.pop(name, None)
    builder.headers["Content-Length"] = str(len(request.body))
    with _app.request_context(builder.get_environ()) as context:
        found = context.request
        assert isinstance(found, AMLRequest)
        yield found
