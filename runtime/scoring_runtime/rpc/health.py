"""gRPC's health checking protocol: what Kubernetes' gRPC probes, proxies and clients ask for.

A Watch is a stream that ends with the client or the server; its changes are noticed by the listener's tick.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from scoring_runtime.protocols import GRPC_SERVICE
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.listener import Rpc

HEALTH = "grpc.health.v1.Health"
# Streams that are open at one time; Kubernetes and proxies open none, clients one a channel.
MAX_WATCHERS = 1000
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_KNOWN = ("", GRPC_SERVICE, HEALTH)


class HealthService:
    """Answers Check and Watch. All its methods are called by the listener's own thread."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._watchers: list[_Watcher] = []
        self.at_once: dict[str, Callable[[Rpc], None]] = {
            f"/{HEALTH}/Check": self._check,
            f"/{HEALTH}/Watch": self._watch,
        }

    def tick(self) -> None:
        """Tell the watchers what has changed, and forget those that are gone."""
        status = self._status()
        self._watchers = [watcher for watcher in self._watchers if not watcher.rpc.closed]
        for watcher in self._watchers:
            watcher.tell(status if watcher.known else _SERVICE_UNKNOWN)

    def _status(self) -> int:
        return _SERVING if self._ready() else _NOT_SERVING

    def _check(self, rpc: Rpc) -> None:
        service = _service(rpc)
        if service is None:
            return
        if service not in _KNOWN:
            rpc.refuse(grpc.StatusCode.NOT_FOUND, f"there is no such service; there is {GRPC_SERVICE}")
            return
        rpc.answer(_response(self._status()))

    def _watch(self, rpc: Rpc) -> None:
        service = _service(rpc)
        if service is None:
            return
        if len(self._watchers) >= MAX_WATCHERS:
            rpc.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch this server's health")
            return
        watcher = _Watcher(rpc, service in _KNOWN)
        self._watchers.append(watcher)
        watcher.tell(self._status() if watcher.known else _SERVICE_UNKNOWN)


class _Watcher:
    """One stream: the status that it was told last, and whether that has left."""

    def __init__(self, rpc: Rpc, known: bool) -> None:
        self.rpc = rpc
        self.known = known
        self._told = 0
        self._sending = False

    def tell(self, status: int) -> None:
        if status == self._told or self._sending:
            return
        self._told, self._sending = status, True
        self.rpc.send(_response(status), self._sent)

    def _sent(self) -> None:
        self._sending = False


def _service(rpc: Rpc) -> str | None:
    """Return the service that is asked for, or refuse the call and return None."""
    try:
        service: str = messages.HealthCheckRequest.FromString(rpc.message).service
        return service
    except DecodeError:
        rpc.refuse(grpc.StatusCode.INVALID_ARGUMENT, "the message is no HealthCheckRequest")
        return None


def _response(status: int) -> bytes:
    return messages.encoded(messages.HealthCheckResponse(status=status))
