"""The outermost WSGI layer: request id, path prefix, the scoring shortcut, what is recorded of a request.

Every response passes here, so every one has a request id and every failure the same JSON form.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, overload

from scoring_runtime.errors import RequestError, RequestIdTooLong, RequestInvalid, unexpected
from scoring_runtime.protocols import error_document
from scoring_runtime.replies import STATUS_LINES, Reply, error_reply
from scoring_runtime.web.deferred import AWAITED, SEND, Send
from scoring_runtime.web.recorder import REQUEST_ID, Recorder
from scoring_runtime.web.scoring import ScoringEndpoint

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from scoring_runtime.repository.serving import Repository
    from scoring_runtime.serving import Serving

Handler = Callable[["WSGIEnvironment"], Reply]

ERROR_CODE = "scoring.error_code"
MAX_ID_CHARACTERS = 100
_MODELS_FAULTS = frozenset({"ModelFailed", "RejectedByModel"})
_MODEL_FAILED, _NOT_MODEL_FAILED = ("x-ms-run-function-failed", "True"), ("x-ms-run-function-failed", "False")
_count = itertools.count()
_logger = logging.getLogger(__name__)


class Front:
    """Wraps the Flask app. `shortcuts` maps a path to what answers POST on it without Flask; Flask can do without."""

    def __init__(
        self,
        app: WSGIApplication,
        shortcuts: Mapping[str, Handler],
        serving: Serving | Repository,
        recorder: Recorder,
    ) -> None:
        self._app = app
        self.shortcuts = dict(shortcuts)
        self._serving = serving
        self._recorder = recorder
        self._collector = recorder.collector

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started = time.perf_counter()
        try:
            environ[REQUEST_ID] = request_id_of(environ)
        except RequestError as error:
            environ[REQUEST_ID] = new_request_id()
            return self._send(refusal(error, environ), environ, start_response, started)
        handler = self.shortcuts.get(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if handler is None:
            return self._through_flask(environ, start_response, started)
        if self._collector is not None:
            self._collector.begin(environ)
        if SEND in environ and isinstance(handler, ScoringEndpoint):
            return self._begin(handler, environ, start_response, started)
        return self._send(answer(handler, environ), environ, start_response, started)

    def _begin(
        self, endpoint: ScoringEndpoint, environ: WSGIEnvironment, start_response: StartResponse, started: float
    ) -> Iterable[bytes]:
        """Let the endpoint answer when it can, without this thread."""
        send: Send = environ[SEND]

        def ready(handler: Handler) -> None:
            (body,) = self._send(answer(handler, environ), environ, start_response, started)
            send(body)

        reply = answer(lambda environ: endpoint.begin(environ, ready), environ)
        return AWAITED if reply is None else self._send(reply, environ, start_response, started)

    def _send(
        self, reply: Reply, environ: WSGIEnvironment, start_response: StartResponse, started: float
    ) -> Iterable[bytes]:
        headers = reply.headers
        headers += self._common_headers(environ)
        seconds = time.perf_counter() - started
        self._recorder.done(environ, reply.status, len(reply.body), seconds, reply.code)
        if self._collector is not None:
            self._collector.answered(environ, reply, seconds, environ[REQUEST_ID])
        start_response(STATUS_LINES[reply.status], headers)
        return [reply.body]

    def _through_flask(
        self, environ: WSGIEnvironment, start_response: StartResponse, started: float
    ) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
            size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            code = environ.get(ERROR_CODE, "")
            self._recorder.done(environ, int(status[:3]), size, time.perf_counter() - started, code)
            return start_response(status, headers + self._common_headers(environ))

        return self._app(environ, start)

    def _common_headers(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        """Return the headers that every response has: the request's ids, and the last word while draining."""
        headers = id_headers(environ)
        if self._serving.state == "draining":
            # A proxy would otherwise send its next request on a connection that is just being closed.
            headers.append(("Connection", "close"))
        return headers


def strip_prefix(app: WSGIApplication, prefix: str) -> WSGIApplication:
    """Return an app that answers below `prefix` as well as without it; for "" the app itself."""
    if not prefix:
        return app

    def stripped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        return app(environ, start_response)

    return stripped


@overload
def answer(handler: Handler, environ: WSGIEnvironment) -> Reply: ...
@overload
def answer(handler: Callable[[WSGIEnvironment], Reply | None], environ: WSGIEnvironment) -> Reply | None: ...
def answer(handler: Callable[[WSGIEnvironment], Reply | None], environ: WSGIEnvironment) -> Reply | None:
    """Call a handler and turn whatever it raises into the reply that the path's protocol has for it.

    None where the handler gives none, since it will answer later.
    """
    try:
        reply = handler(environ)
        if reply is None:
            return None
    except RequestError as error:
        reply = refusal(error, environ)
    except Exception as error:
        reply = fault(error, environ)
    reply.headers.append(_MODEL_FAILED if reply.code in _MODELS_FAULTS else _NOT_MODEL_FAILED)
    return reply


def refusal(error: RequestError, environ: WSGIEnvironment) -> Reply:
    """Return the reply for an error, in the form of the protocol that the request's path belongs to."""
    return error_reply(error, error_document(environ["PATH_INFO"], error, environ[REQUEST_ID]))


def fault(error: Exception, environ: WSGIEnvironment) -> Reply:
    """Log an error of our own and return the reply for it, which tells nothing of it."""
    return refusal(unexpected(error, "a request", _logger), environ)


def request_id_of(environ: WSGIEnvironment) -> str:
    """Return the id that the client sent, or a new one. Raises RequestIdTooLong over 100 characters (Azure's rule)."""
    client_id = environ.get("HTTP_X_MS_CLIENT_REQUEST_ID")
    given = environ.get("HTTP_X_REQUEST_ID") or environ.get("HTTP_X_MS_REQUEST_ID")
    if given is None and client_id is None:
        return new_request_id()
    for name in (given, client_id):
        if name is None:
            continue
        if len(name) > MAX_ID_CHARACTERS:
            raise RequestIdTooLong(f"a request id may have at most {MAX_ID_CHARACTERS} characters; send a shorter one")
        if not (name.isascii() and name.isprintable()):
            raise RequestInvalid("a request id may have printable ASCII characters only")
    return given or new_request_id()


def new_request_id() -> str:
    """Return an id that no other request has, in the form of a UUID: this process' random part and a count."""
    return f"{_process}{next(_count):012x}"


def _name_process() -> None:
    global _process  # noqa: PLW0603 (a forked process needs a name of its own)
    _process = str(uuid.uuid4())[:24]


_process = ""
_name_process()
os.register_at_fork(after_in_child=_name_process)


def id_headers(environ: WSGIEnvironment) -> list[tuple[str, str]]:
    """Return the response headers that carry the request's ids."""
    request_id = environ[REQUEST_ID]
    headers = [("x-ms-request-id", request_id), ("x-request-id", request_id)]
    client_id = environ.get("HTTP_X_MS_CLIENT_REQUEST_ID")
    if client_id and len(client_id) <= MAX_ID_CHARACTERS and client_id.isascii() and client_id.isprintable():
        headers.append(("x-ms-client-request-id", client_id))
    return headers
