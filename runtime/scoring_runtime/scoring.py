"""The one path that a request to score takes: authenticate, read, decode, score, encode.

It is plain WSGI: `front.Front` calls it straight, without Flask's routing (which costs more than everything else
here), and Flask calls the same object for whatever reaches it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scoring_runtime.auth import Authenticator
from scoring_runtime.bodies import discard, read_body
from scoring_runtime.errors import RequestError
from scoring_runtime.protocols import ScoringRoute
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.serving import Serving

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class ScoringEndpoint:
    """Answers POST on one scoring route. Raises RequestError; the caller renders it."""

    def __init__(self, route: ScoringRoute, serving: Serving, authenticator: Authenticator, max_body: int) -> None:
        self._route = route
        self._serving = serving
        self._authenticator = authenticator
        self._max_body = max_body

    def __call__(self, environ: WSGIEnvironment) -> Reply:
        """Score one request."""
        with self._serving.admission:
            try:
                self._authenticator.check(environ.get("HTTP_AUTHORIZATION"))
            except RequestError:
                discard(environ["wsgi.input"], self._max_body)
                raise
            body = read_body(environ, self._max_body)
            call = self._route.decode(body, environ.get("CONTENT_TYPE") or "")
            started = time.perf_counter()
            result = self._serving.score(call.inputs, call.method)
            milliseconds = (time.perf_counter() - started) * 1000
            reply = json_reply(self._route.encode(result, call))
            reply.headers.append(("x-ms-run-fn-exec-ms", f"{milliseconds:.3f}"))
            return reply
