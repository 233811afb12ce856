"""gRPC's core, run with as few threads and hand-overs as it allows.

`grpc.server` gives each request a thread from its first byte on, so that clients which send their messages slowly take
all of them, and hands each request over four times; `grpc.aio` has no threads to lose, and twice the cost. This module
uses the layer below both: one thread waits for gRPC's events, and a request meets a worker only when its message is
complete. docs/protocols.md has the figures. The layer has no promise of staying as it is, so this is the only module
that knows it, and grpcio's minor version is pinned.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc._common import STATUS_CODE_TO_CYGRPC_STATUS_CODE as _CODES
from grpc._cython import cygrpc

from scoring_runtime.errors import SettingsInvalid

Metadata = Sequence[tuple[str, str]]
_inside: Any = cygrpc
_NO_FLAGS = 0
_TICK_SECONDS = 0.2
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RpcLimits:
    """What one listener allows. Sizes in bytes, times in seconds."""

    threads: int
    """How many requests may be worked on at one time."""
    max_message: int
    """The largest request message; a larger one is RESOURCE_EXHAUSTED."""
    receive_seconds: float
    """How long a client may take to send its message."""
    max_receiving: int
    """How many requests may be without their message at one time."""
    shared: bool = False
    """Whether other processes listen at the same address; the kernel then shares the connections out."""


class Rpc:
    """One call of a method. Its message is there; `answer` or `refuse` is called once, `send` on streams only."""

    __slots__ = (
        "_call",
        "_closed",
        "_lock",
        "_started",
        "accepted",
        "deadline",
        "message",
        "metadata",
        "method",
        "opened",
        "status",
    )

    def __init__(self, event: Any) -> None:
        self._call = event.call
        self._lock = threading.Lock()
        self._closed = False
        self._started = False
        self.method: str = event.call_details.method.decode("utf-8", "replace")
        self.metadata: Mapping[str, str | bytes] = {item.key: item.value for item in event.invocation_metadata}
        self.deadline: float = event.call_details.deadline
        self.opened = time.monotonic()
        self.message: bytes = b""
        # Whether its credential is good, if one is asked for.
        self.accepted = False
        # The name of the status that it ended with; empty where nobody waited for it.
        self.status = ""

    @property
    def seconds_left(self) -> float:
        """How long the client still waits for the answer; infinite where it has not said."""
        return self.deadline - time.time()

    @property
    def client(self) -> str:
        """The address of the client, without its port; empty where it has none."""
        kind, _, address = self._call.peer().decode("latin-1").partition(":")
        return address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""

    @property
    def closed(self) -> bool:
        """Whether nobody waits any more: answered, cancelled, or the client is gone."""
        return self._closed

    def answer(self, message: bytes, metadata: Metadata = ()) -> None:
        """Send the one answer."""
        self._finish(grpc.StatusCode.OK, "", metadata, (_inside.SendMessageOperation(message, _NO_FLAGS),))

    def refuse(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        """End the call without an answer."""
        self._finish(code, details, metadata, ())

    def send(self, message: bytes, done: Callable[[], None]) -> None:
        """Send one of several answers; `done` is called when the next may be sent."""
        operations = [_inside.SendMessageOperation(message, _NO_FLAGS)]
        with self._lock:
            if self._closed:
                return
            if not self._started:
                operations.insert(0, _inside.SendInitialMetadataOperation(None, _NO_FLAGS))
                self._started = True
            self._call.start_server_batch(operations, lambda event: done())

    def cancelled(self) -> None:
        """Note that nobody waits any more."""
        with self._lock:
            self._closed = True

    def start(self, operation: Any, then: Callable[[Any], None]) -> None:
        """Begin one operation of gRPC's core; `then` gets its event."""
        self._call.start_server_batch((operation,), then)

    def _finish(self, code: grpc.StatusCode, details: str, metadata: Metadata, message: tuple[Any, ...]) -> None:
        status = _inside.SendStatusFromServerOperation(metadata, _CODES[code], details.encode(), _NO_FLAGS)
        with self._lock:
            if self._closed:
                return
            self._closed, self.status = True, code.name
            head = () if self._started else (_inside.SendInitialMetadataOperation(None, _NO_FLAGS),)
            self._call.start_server_batch((status, *head, *message), _ignore)


class RpcListener:
    """Serves `handle` at an address from its construction on.

    `handle` is called in a worker for each method but those of `at_once`, which are answered by the thread that waits
    for events and must be quick. `tick` is called by it several times a second.
    """

    def __init__(
        self,
        handle: Callable[[Rpc], None],
        at_once: Mapping[str, Callable[[Rpc], None]],
        tick: Callable[[], None],
        address: str,
        limits: RpcLimits,
    ) -> None:
        self._handle = handle
        self._at_once = at_once
        self._tick = tick
        self._limits = limits
        self._receiving: dict[int, Rpc] = {}
        self._stopping = False
        self._ended = False
        # The thread that waits for events ends the server's life in the core, and no call into it may be in progress.
        self._lifetime = threading.Lock()
        self._workers = ThreadPoolExecutor(limits.threads, "rpc")
        self._queue = _inside.CompletionQueue()
        self._server = _inside.Server(_options(limits), False)
        self._server.register_completion_queue(self._queue)
        if not _bound(self._server, address):
            raise SettingsInvalid(
                f"cannot listen for gRPC on {address}: is there something already? "
                "Choose another SCORING_GRPC_PORT or SCORING_HOST"
            )
        self._server.start()
        self._request_call()
        self._thread = threading.Thread(target=self._run, name="rpc-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no new calls; those in progress are still answered."""
        self._stopping = True
        with self._lifetime:
            self._server.shutdown(self._queue, self._on_shutdown)

    def close(self) -> None:
        """End what is still in progress."""
        with self._lifetime:
            self._server.cancel_all_calls()
        self._thread.join(1)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        next_tick = 0.0
        while True:
            event = self._queue.poll(time.time() + _TICK_SECONDS)
            if event.completion_type == _inside.CompletionType.queue_timeout:
                if self._ended:
                    return
            else:
                try:
                    event.tag(event)
                except Exception as error:
                    _logger.error("an event of gRPC raised %s", type(error).__name__, exc_info=error)
            # An event keeps its call alive, and the wait may be long.
            event = None
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_SECONDS
                self._tick()
                self._end_slow_ones(now)

    def _request_call(self) -> None:
        self._server.request_call(self._queue, self._queue, self._on_call)

    def _on_call(self, event: Any) -> None:
        if not event.success:
            return
        if not self._stopping:
            self._request_call()
        rpc = Rpc(event)
        key = id(rpc)
        rpc.start(_inside.ReceiveCloseOnServerOperation(_NO_FLAGS), lambda event: self._on_close(rpc, key, event))
        if len(self._receiving) >= self._limits.max_receiving:
            rpc.refuse(grpc.StatusCode.UNAVAILABLE, "too many calls at one time; call again later")
            return
        self._receiving[key] = rpc
        rpc.start(_inside.ReceiveMessageOperation(_NO_FLAGS), lambda event: self._on_message(rpc, key, event))

    def _on_close(self, rpc: Rpc, key: int, event: Any) -> None:
        self._receiving.pop(key, None)
        if event.batch_operations[0].cancelled():
            rpc.cancelled()

    def _on_message(self, rpc: Rpc, key: int, event: Any) -> None:
        self._receiving.pop(key, None)
        message = event.batch_operations[0].message()
        if message is None:
            # The client is gone, the message was too large (core has said so), or there was none.
            rpc.refuse(grpc.StatusCode.INVALID_ARGUMENT, "this method takes one message, and none came")
            return
        rpc.message = message
        at_once = self._at_once.get(rpc.method)
        if at_once is not None:
            at_once(rpc)
        else:
            self._workers.submit(self._handle, rpc)

    def _end_slow_ones(self, now: float) -> None:
        # In the order of their arrival.
        for key, rpc in list(self._receiving.items()):
            if now - rpc.opened < self._limits.receive_seconds:
                return
            del self._receiving[key]
            limit = f"{self._limits.receive_seconds:g} s"
            rpc.refuse(grpc.StatusCode.DEADLINE_EXCEEDED, f"the message did not come within {limit}")

    def _on_shutdown(self, event: Any) -> None:
        with self._lifetime:
            self._server.destroy()
        # What its calls have still begun comes within the next tick.
        self._ended = True


def _ignore(event: Any) -> None:
    """An operation whose end changes nothing."""


def _bound(server: Any, address: str) -> bool:
    try:
        return bool(server.add_http2_port(address.encode()))
    except RuntimeError:
        return False


def _options(limits: RpcLimits) -> tuple[tuple[bytes, Any], ...]:
    """Return the options of gRPC's core (grpc/impl/channel_arg_names.h)."""
    return (
        # Otherwise a second server at the same address would take its part of the connections, and nobody be told.
        (b"grpc.so_reuseport", int(limits.shared)),
        (b"grpc.max_receive_message_length", limits.max_message),
        (b"grpc.max_send_message_length", -1),
        (b"grpc.max_concurrent_streams", limits.max_receiving),
    )
