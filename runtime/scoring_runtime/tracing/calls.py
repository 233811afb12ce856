"""The spans of calls over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.trace import StatusCode

from scoring_runtime.rpc.listener import Rpc

if TYPE_CHECKING:
    from scoring_runtime.tracing.spans import Tracing

_OTHER = "_OTHER"
_PARENT_HEADERS = ("traceparent", "tracestate")
# The conventions' choice: what a client did wrong is no error of the server.
_SERVERS_FAULTS = frozenset(
    code.name
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)


class TracedCalls:
    """Answers calls as `handle` does, each with a span that begins when the call was opened."""

    def __init__(self, handle: Callable[[Rpc], None], methods: Collection[str], tracing: Tracing, port: int) -> None:
        self._handle = handle
        self._methods = methods
        self._tracing = tracing
        self._port = port

    def __call__(self, rpc: Rpc) -> None:
        """Answer one call."""
        headers = {name: value for name in _PARENT_HEADERS if isinstance(value := rpc.metadata.get(name), str)}
        name, attributes = self._described(rpc)
        span = self._tracing.begin(name, headers, attributes, rpc.opened)
        try:
            self._handle(rpc)
        finally:
            # Without one the client did not wait for the answer.
            code = rpc.status or grpc.StatusCode.CANCELLED.name
            span.set_attribute("rpc.response.status_code", code)
            if code in _SERVERS_FAULTS:
                span.set_attribute("error.type", code)
                span.set_status(StatusCode.ERROR)
            self._tracing.end(span, rpc.opened)

    def _described(self, rpc: Rpc) -> tuple[str, dict[str, Any]]:
        """Return the span's name and attributes. A method that nobody knows may be any text, and is left out."""
        method = rpc.method.removeprefix("/") if rpc.method in self._methods else _OTHER
        attributes: dict[str, Any] = {"rpc.system.name": "grpc", "rpc.method": method, "server.port": self._port}
        if rpc.client:
            attributes["client.address"] = rpc.client
        return (method if method != _OTHER else "grpc"), attributes
