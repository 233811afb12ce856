"""Cross-origin requests: which web pages may call this service from a browser (the Fetch standard's CORS protocol).

A layer around the whole application, and only there when origins are set. Preflight requests are answered here: a
browser sends them without the credential that the request itself will have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ANY = "*"
_METHODS = "GET, POST"
_MAX_AGE_SECONDS = "600"
# What a page may read of the answer, beside its body.
_EXPOSED = "x-request-id, x-ms-request-id, x-ms-client-request-id, x-ms-run-function-failed, x-ms-run-fn-exec-ms"


def allow_origins(app: WSGIApplication, origins: Sequence[str]) -> WSGIApplication:
    """Return an app that lets pages of these origins (https://example.com, or * for all) use `app`.

    For no origins the app itself.
    """
    if not origins:
        return app

    def allowing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "")
        allowed = _headers_for(origin, origins)
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
        if environ["REQUEST_METHOD"] == "OPTIONS" and origin and asked:
            wanted = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
            start_response("200 OK", [*_preflight(allowed, wanted), ("Content-Length", "0")])
            return [b""]

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
            return start_response(status, headers + allowed)

        return app(environ, start)

    return allowing


def _headers_for(origin: str, origins: Sequence[str]) -> list[tuple[str, str]]:
    """Return what every response says; caches must know that it depends on the origin."""
    if ANY in origins:
        return [("Access-Control-Allow-Origin", ANY), ("Access-Control-Expose-Headers", _EXPOSED)]
    varies = ("Vary", "Origin")
    if origin not in origins:
        return [varies]
    return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _EXPOSED), varies]


def _preflight(allowed: list[tuple[str, str]], wanted: str) -> list[tuple[str, str]]:
    if len(allowed) == 1:
        return allowed
    headers = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _MAX_AGE_SECONDS)]
    return allowed + headers + ([("Access-Control-Allow-Headers", wanted)] if wanted else [])
