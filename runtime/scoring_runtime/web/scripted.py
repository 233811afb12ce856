"""The HTTP side of entry scripts: what `/score` and `/swagger.json` are when a script answers.

A script sees the request as Azure ML shows it, and decides on the response: any JSON value, a response of its own, or a
stream. See `docs/entry-scripts.md`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from flask import Flask, Response, request
from werkzeug.wrappers import Response as AnyResponse

from scoring_runtime.auth import Authenticator
from scoring_runtime.errors import ModelFailed, Overloaded, RequestError
from scoring_runtime.frameworks import ScriptOptions
from scoring_runtime.frameworks.script.entry import Style
from scoring_runtime.frameworks.script.model import Piece, ScriptModel, Step, Stream, boxed, unboxed
from scoring_runtime.frameworks.script.values import to_json
from scoring_runtime.messages import HttpRequest
from scoring_runtime.protocols.azure import PATH
from scoring_runtime.protocols.routes import Asked, ServedModel
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings
from scoring_runtime.web.front import ERROR_CODE, Front, Handler, answer
from scoring_runtime.web.scoring import receive, timed
from scoring_runtime.web.scriptdocs import ScriptDescriber

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

METHODS = ("GET", "POST", "OPTIONS")
FAILED = {"message": "An unexpected error occurred in scoring script. Check the logs for more info."}
"""What clients of Azure know as the answer when `run` raises."""

_STREAM = "scoring.stream"
_FAILED_HEADER = "x-ms-run-function-failed"
# Said anew by this server, or about one connection only (RFC 9110, 7.6.1).
_OWN_HEADERS = frozenset({_FAILED_HEADER, "content-length", "connection", "transfer-encoding", "keep-alive", "date"})
# RFC 9110, 8.6: no length either.
_WITHOUT_BODY = frozenset({204, 304})
_RETRY_SECONDS = 0.05
_logger = logging.getLogger(__name__)


class Around(NamedTuple):
    """What the app has when it installs the endpoints of a script."""

    settings: Settings
    serving: Serving
    authenticator: Authenticator


def install(app: Flask, endpoints: dict[str, Handler], around: Around) -> Callable[[Asked], Reply]:
    """Put the script on /score; return what answers /swagger.json."""
    settings = around.settings
    endpoints[PATH] = endpoint = ScriptEndpoint(around)
    app.add_url_rule(PATH, PATH, _view(endpoint), methods=METHODS, provide_automatic_options=False)
    return ScriptDescriber(ServedModel(settings.model_name, settings.model_version), settings.auth != "none")


class ScriptEndpoint:
    """Answers requests to /score with the script. Raises RequestError for those that do not reach it.

    The script does not see a credential that was checked here, so that it cannot print it.
    """

    def __init__(self, around: Around) -> None:
        self._serving = around.serving
        self._authenticator = around.authenticator
        self._max_body = around.settings.max_body_bytes
        # Of one piece of a stream, in seconds.
        self._timeout = around.settings.timeout_seconds
        self._hidden = {"HTTP_AUTHORIZATION"} if around.settings.auth != "none" else set()

    def __call__(self, environ: WSGIEnvironment) -> Reply:
        """Score one request. A reply that is streamed leaves its pieces in `environ`; see `body_of`."""
        if environ["REQUEST_METHOD"] == "OPTIONS" and not self._sees_options():
            return json_reply(b'""')
        body = receive(environ, self._serving, self._authenticator, self._max_body)
        with ExitStack() as until_answered:
            until_answered.enter_context(self._serving.admission)
            given = _http_request(environ, body, self._hidden)
            started = time.perf_counter()
            try:
                value = unboxed(self._serving.score(boxed(given), ""))
                reply = self._reply(value, environ, until_answered)
            except ModelFailed:
                reply = json_reply(orjson.dumps(FAILED), ModelFailed.status)._replace(code=ModelFailed.code)
            return timed(reply, time.perf_counter() - started)

    def _sees_options(self) -> bool:
        model = self._serving.model
        return isinstance(model, ScriptModel) and model.entry.style is Style.RAW

    def _reply(self, value: Any, environ: WSGIEnvironment, until_answered: ExitStack) -> Reply:
        """Return the reply for what `run` returned. Raises ModelFailed where it has no form in HTTP."""
        if isinstance(value, AnyResponse):
            return self._passed_on(value, environ, until_answered)
        if isinstance(value, Iterator | AsyncIterator):
            stream = _Pieces(self._serving, value, self._timeout)
            kind = stream.start()
            environ[_STREAM] = _Streamed(stream, until_answered.pop_all())
            return Reply(200, [("Content-Type", kind)], b"")
        try:
            return json_reply(to_json(value))
        except Exception as error:
            # The writer's messages name types and no values; a method of the script's own types may raise anything.
            cause = error.__cause__ or error
            said = str(cause) if isinstance(error, orjson.JSONEncodeError) else type(cause).__name__
            _logger.error("what run returned cannot be written as JSON: %s", said)
            raise ModelFailed(said) from error

    def _passed_on(self, response: AnyResponse, environ: WSGIEnvironment, until_answered: ExitStack) -> Reply:
        """Return the reply for a response of the script's own."""
        failed = response.status_code >= 500 or response.headers.get(_FAILED_HEADER) == "True"
        code = ModelFailed.code if failed else ""
        headers = [(name, value) for name, value in response.headers if name.lower() not in _OWN_HEADERS]
        # Set for files, which are then sent in the web server's own way; here they are a stream like others.
        response.direct_passthrough = False
        if response.is_streamed:
            stream = _Pieces(self._serving, response.iter_encoded(), self._timeout)
            until_answered.callback(response.close)
            stream.start()
            environ[_STREAM] = _Streamed(stream, until_answered.pop_all())
            return Reply(response.status_code, headers, b"", code)
        body = response.get_data()
        if response.status_code not in _WITHOUT_BODY:
            headers.append(("Content-Length", str(len(body))))
        return Reply(response.status_code, headers, body, code)


class _Pieces:
    """The pieces of a stream. Each is made on the model's thread, in turn with other requests.

    HTTP has no word for a failure once a response has begun, and the web server has no way to break the connection. So
    a stream that fails ends; one of JSON lines has the failure as its last line.
    """

    def __init__(self, serving: Serving, stream: Stream, timeout: float) -> None:
        self._serving = serving
        self._stream = stream
        self._timeout = timeout
        self._first: Piece | None = None
        self._over = False
        self._last = b""

    def start(self) -> str:
        """Make the first piece and return its content type. Raises ModelFailed when that fails already."""
        first = self._first = self._made(Step(self._stream))
        if first.error is not None:
            raise ModelFailed("the stream failed before its first piece")
        if isinstance(first.value, bytes):
            return "application/octet-stream"
        if first.over or isinstance(first.value, str):
            return "text/plain; charset=utf-8"
        self._last = orjson.dumps(FAILED, option=orjson.OPT_APPEND_NEWLINE)
        return "application/x-ndjson"

    def next(self) -> bytes | None:
        """Return the next piece, None after the last."""
        if self._over:
            return None
        try:
            piece, self._first = self._first or self._made(Step(self._stream)), None
            self._over = piece.over or piece.error is not None
            if not self._over:
                return _as_bytes(piece.value)
        except Exception as error:
            # Without a message, as for everything that a script makes.
            _logger.error("a stream ended early, by %s", type(error).__name__)
            self.close()
            return self._last
        return self._last if piece.error is not None else None

    def close(self) -> None:
        """End the stream, also before its time."""
        if not self._over:
            self._over = True
            self._made(Step(self._stream, closing=True))

    def _made(self, step: Step) -> Piece:
        end = time.monotonic() + self._timeout
        while True:
            try:
                piece: Piece = unboxed(self._serving.score(boxed(step), ""))
            except Overloaded:
                # A new request would be turned away; this one has begun, so it waits.
                if time.monotonic() > end:
                    raise
                time.sleep(_RETRY_SECONDS)
                continue
            if piece.error is not None:
                _logger.error("a stream of the script raised %s", type(piece.error).__name__, exc_info=piece.error)
            return piece


class _Streamed:
    """A response's body in pieces, as WSGI wants it. The request counts as one in progress until it is closed."""

    def __init__(self, pieces: _Pieces, until_closed: ExitStack) -> None:
        self._pieces = pieces
        self._until_closed = until_closed

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._pieces.next()
        # An empty piece would be the end in HTTP's chunks.
        while piece == b"":
            piece = self._pieces.next()
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """End it; called by the web server also when the client is gone."""
        with self._until_closed:
            try:
                self._pieces.close()
            except RequestError as error:
                _logger.warning("a stream could not be ended: %s", error.message)


def script_options(settings: Settings) -> ScriptOptions:
    """Return what the settings say to the script; two of the variables have other names here than in Azure."""
    from scoring_runtime.azureml_shims.rawhttp import open_request

    environment = {
        "SCORING_TIMEOUT_MS": str(round(settings.timeout_seconds * 1000)),
        "WORKER_COUNT": str(settings.processes),
    }
    return ScriptOptions(settings.entry_script, environment, open_request)


class ScriptFront(Front):
    """The outermost layer, which can also send streams."""

    def _send(
        self, reply: Reply, environ: WSGIEnvironment, start_response: StartResponse, started: float
    ) -> Iterable[bytes]:
        body = super()._send(reply, environ, start_response, started)
        return environ.pop(_STREAM, body)  # type: ignore[no-any-return]


def _view(endpoint: ScriptEndpoint) -> Callable[[], Response]:
    """Return the Flask view for what the front does not answer by itself: GET and OPTIONS."""

    def answered() -> Response:
        environ = request.environ
        reply = answer(endpoint, environ)
        if reply.code:
            environ[ERROR_CODE] = reply.code
        return Response(environ.pop(_STREAM, reply.body), reply.status, reply.headers)

    return answered


def _http_request(environ: WSGIEnvironment, body: bytes, hidden: set[str]) -> HttpRequest:
    headers = [
        (name[5:].replace("_", "-").title(), str(value))
        for name, value in environ.items()
        if name.startswith("HTTP_") and name not in hidden
    ]
    for name, variable in (("Content-Type", "CONTENT_TYPE"), ("Content-Length", "CONTENT_LENGTH")):
        if environ.get(variable):
            headers.append((name, str(environ[variable])))
    return HttpRequest(
        environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING") or "", tuple(headers), body
    )


def _as_bytes(value: Any) -> bytes:
    """Return one piece of a stream: texts and bytes as they are, other values as a line of JSON each."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return value.encode() if isinstance(value, str) else to_json(value) + b"\n"
