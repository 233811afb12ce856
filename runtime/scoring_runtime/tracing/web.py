"""The spans of requests over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from scoring_runtime import logs
from scoring_runtime.settings import Settings
from scoring_runtime.web.deferred import SEND
from scoring_runtime.web.recorder import QUIET_PATHS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from scoring_runtime.tracing.spans import Tracing

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_PARENT_HEADERS = (("traceparent", "HTTP_TRACEPARENT"), ("tracestate", "HTTP_TRACESTATE"))


class TracedApp:
    """WSGI middleware: a span for each request but those of probes and scrapers."""

    def __init__(self, app: WSGIApplication, tracing: Tracing, routes: frozenset[str], settings: Settings) -> None:
        self._app = app
        self._tracing = tracing
        self._routes = routes
        self._prefix = settings.path_prefix
        self._port = settings.port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path: str = environ["PATH_INFO"]
        route = (path.removeprefix(self._prefix) or "/") if path.startswith(self._prefix) else path
        if route in QUIET_PATHS or route == "/" or route.endswith("/ready"):
            return self._app(environ, start_response)
        began = time.monotonic()
        name, attributes = self._described(environ, route)
        headers = {header: environ[key] for header, key in _PARENT_HEADERS if key in environ}
        span = self._tracing.begin(name, headers, attributes, began)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            code = int(status[:3])
            span.set_attribute("http.response.status_code", code)
            if code >= 500:
                span.set_attribute("error.type", str(code))
                span.set_status(StatusCode.ERROR)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        # A trace is that of the thread which answers, and ends when it does.
        environ.pop(SEND, None)
        try:
            return self._app(environ, start)
        finally:
            self._tracing.end(span, began)

    def _described(self, environ: WSGIEnvironment, route: str) -> tuple[str, dict[str, Any]]:
        """Return the span's name and attributes. The query is left out: it may hold a secret."""
        method = environ["REQUEST_METHOD"]
        known = route in self._routes
        attributes: dict[str, Any] = {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "url.path": environ["PATH_INFO"] if known else logs.scrubbed(environ["PATH_INFO"]),
            "url.scheme": environ.get("wsgi.url_scheme", "http"),
            "server.port": self._port,
        }
        optional = {
            "server.address": environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST"),
            "client.address": environ.get("REMOTE_ADDR"),
            "user_agent.original": environ.get("HTTP_USER_AGENT"),
            "network.protocol.version": environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
            "http.route": self._prefix + route if known else None,
        }
        attributes |= {name: value for name, value in optional.items() if value}
        verb = attributes["http.request.method"].replace("_OTHER", "HTTP")
        return (f"{verb} {attributes['http.route']}" if known else verb), attributes
