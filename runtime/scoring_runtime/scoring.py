"""The one path that a request to score takes: authenticate, read, decode, score, encode.

It is plain WSGI: `front.Front` calls it straight, without Flask's routing (which costs more than everything else
here), and Flask calls the same object for whatever reaches it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from scoring_runtime.auth import Authenticator
from scoring_runtime.bodies import discard, read_body
from scoring_runtime.errors import RequestError
from scoring_runtime.protocols import ScoringRoute
from scoring_runtime.protocols.call import Call, Request
from scoring_runtime.protocols.v2tensors import merged
from scoring_runtime.replies import Reply
from scoring_runtime.serving import Serving
from scoring_runtime.tensors import Tensors

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class ScoringEndpoint:
    """Answers POST on one scoring route. Raises RequestError; the caller renders it."""

    def __init__(self, route: ScoringRoute, serving: Serving, authenticator: Authenticator, max_body: int) -> None:
        self._decode = route.decode
        self._encode = route.encode
        self._serving = serving
        self._authenticator = authenticator
        self._max_body = max_body

    def __call__(self, environ: WSGIEnvironment) -> Reply:
        """Score one request."""
        serving = self._serving
        with serving.receiving:
            try:
                self._authenticator.check(environ.get("HTTP_AUTHORIZATION"))
            except RequestError:
                discard(environ["wsgi.input"], self._max_body)
                raise
            body = read_body(environ, self._max_body)
        with serving.admission:
            model = serving.loaded_model()
            call = self._decode(Request(body, environ.get("CONTENT_TYPE") or "", environ, model))
            started = time.perf_counter()
            result = score_call(serving, call)
            milliseconds = (time.perf_counter() - started) * 1000
            reply = self._encode(result, call)
            reply.headers.append(("x-ms-run-fn-exec-ms", f"{milliseconds:.3f}"))
            return reply


def score_call(serving: Serving, call: Call, seconds: float = math.inf) -> Tensors:
    """Score what a request asks for, with one method or with several; each at most `seconds`. Raises a RequestError."""
    if not call.also:
        return serving.score(call.inputs, call.method, seconds)
    methods = (call.method, *call.also)
    return merged(methods, [serving.score(call.inputs, method, seconds) for method in methods])
