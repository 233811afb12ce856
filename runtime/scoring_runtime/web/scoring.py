"""The one path that a request to score takes: authenticate, read, decode, score, encode.

It is plain WSGI: `front.Front` calls it straight, without Flask's routing (which costs more than everything else
here), and Flask calls the same object for whatever reaches it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from scoring_runtime.admission import Admission
from scoring_runtime.auth import Authenticator
from scoring_runtime.batching import QueueItem
from scoring_runtime.collection.sample import BODY
from scoring_runtime.errors import RequestError
from scoring_runtime.protocols import ScoringRoute
from scoring_runtime.protocols.call import Call, Request
from scoring_runtime.protocols.v2tensors import merged
from scoring_runtime.replies import Reply
from scoring_runtime.serving import Serving
from scoring_runtime.tensors import Tensors
from scoring_runtime.web.bodies import discard, read_body

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


# Larger ones are decoded and encoded in a thread of their own, meanwhile others can be scored.
_SMALL_BODY_BYTES = 32 * 1024
_LARGE_RESULT_BYTES = 128 * 1024

Ready = Callable[[Callable[["WSGIEnvironment"], Reply]], object]


class ScoringEndpoint:
    """Answers POST on one scoring route. Raises RequestError; the caller renders it."""

    def __init__(self, route: ScoringRoute, serving: Serving, authenticator: Authenticator, max_body: int) -> None:
        self._decode = route.decode
        self._encode = route.encode
        self._serving = serving
        self._authenticator = authenticator
        self._max_body = max_body

    def __call__(self, environ: WSGIEnvironment) -> Reply:
        """Score one request; blocks until it is answered."""
        return self._score(environ, self._read(environ))

    def begin(self, environ: WSGIEnvironment, ready: Ready) -> Reply | None:
        """Score one request, later: return None, and call `ready` with what then answers it at once.

        That is called in a thread of the queue. A request that takes long before or after the model is answered here
        and now.
        """
        body = self._read(environ)
        if len(body) > _SMALL_BODY_BYTES:
            return self._score(environ, body)
        admission, leaves = self._serving.admission, True
        admission.enter()
        try:
            call = self._call(environ, body)
            if call.also:
                return self._answer(call)
            pending = _Pending(call, self._encode, ready, admission)
            self._serving.submit(call.inputs, call.method, pending.scored)
            leaves = False
            return None
        finally:
            if leaves:
                admission.leave()

    def _score(self, environ: WSGIEnvironment, body: bytes) -> Reply:
        with self._serving.admission:
            return self._answer(self._call(environ, body))

    def _answer(self, call: Call) -> Reply:
        started = time.perf_counter()
        result = score_call(self._serving, call)
        return timed(self._encode(result, call), time.perf_counter() - started)

    def _read(self, environ: WSGIEnvironment) -> bytes:
        return receive(environ, self._serving, self._authenticator, self._max_body)

    def _call(self, environ: WSGIEnvironment, body: bytes) -> Call:
        return self._decode(Request(body, environ.get("CONTENT_TYPE") or "", environ, self._serving.loaded_model()))


class _Pending:
    """A request that the model has not answered."""

    __slots__ = ("_admission", "_call", "_encode", "_ready", "_started")

    def __init__(
        self, call: Call, encode: Callable[[Tensors, Call], Reply], ready: Ready, admission: Admission
    ) -> None:
        self._call = call
        self._encode = encode
        self._ready = ready
        self._admission = admission
        self._started = time.perf_counter()

    def scored(self, item: QueueItem) -> None:
        """Take the model's answer, and send the client's."""
        if item.result is not None and item.result.nbytes > _LARGE_RESULT_BYTES:
            # The model shall not wait while this is encoded.
            threading.Thread(target=self._finish, args=[item], name="large-answer", daemon=True).start()
        else:
            self._finish(item)

    def _finish(self, item: QueueItem) -> None:
        # The item is not kept: it refers to this object, and only garbage collection would free the two.
        def reply(environ: WSGIEnvironment) -> Reply:
            return timed(self._encode(item.answer(), self._call), time.perf_counter() - self._started)

        try:
            self._ready(reply)
        finally:
            self._admission.leave()


def receive(environ: WSGIEnvironment, serving: Serving, authenticator: Authenticator, max_body: int) -> bytes:
    """Return the body of a request, decompressed, at most `max_body` bytes, once its credential is good.

    Raises a RequestError.
    """
    receiving = serving.receiving
    receiving.enter()
    try:
        try:
            authenticator.check(environ.get("HTTP_AUTHORIZATION"))
        except RequestError:
            discard(environ["wsgi.input"], max_body)
            raise
        body = read_body(environ, max_body)
        collected = environ.get(BODY)
        if collected is not None:
            collected.append(body)
        return body
    finally:
        receiving.leave()


def timed(reply: Reply, seconds: float) -> Reply:
    """Add how long scoring took, as Azure's clients know it."""
    reply.headers.append(("x-ms-run-fn-exec-ms", f"{seconds * 1000:.3f}"))
    return reply


def score_call(serving: Serving, call: Call, seconds: float = math.inf) -> Tensors:
    """Score what a request asks for, with one method or with several; each at most `seconds`. Raises a RequestError."""
    if not call.also:
        return serving.score(call.inputs, call.method, seconds)
    methods = (call.method, *call.also)
    return merged(methods, [serving.score(call.inputs, method, seconds) for method in methods])
