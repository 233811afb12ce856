"""Clients that begin a request and do not end it.

The web server gives each request a thread, which waits for the body as long as the client likes, and offers no limit.
So this looks at the connections themselves, in the kernel (tcp(7), TCP_INFO): one that has had no answer for too long
since its request began is told that the client will send no more. The thread then sees the body end, and answers 408.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Where in the kernel's struct tcp_info (include/uapi/linux/tcp.h) these are: milliseconds since data was sent and came,
# and bytes that the other side has acknowledged and that came in all.
_SENT, _CAME, _BYTES = 44, 52, 120
_INFO_BYTES = 136
# The SYN counts as one.
_NOTHING_SENT = 1
_LOOK_SECONDS = 1.0
_FILES = Path("/proc/self/fd")


class _Waiting(NamedTuple):
    """A connection whose request is not answered."""

    since: float
    acknowledged: int


class StalledClients:
    """Ends requests at a port whose body does not come.

    `limit` says, in seconds, how long a request may be without an answer now; `receiving` how many are being read.
    """

    def __init__(self, port: int, limit: Callable[[], float], receiving: Callable[[], int]) -> None:
        self._port = port
        self._limit = limit
        self._receiving = receiving
        self._waiting: dict[tuple[object, ...], _Waiting] = {}

    def start(self) -> None:
        """Look once a second from now on, while the process lives."""
        threading.Thread(target=self._run, name="stalled-clients", daemon=True).start()

    def look(self, now: float) -> int:
        """Note who waits, and end those who have waited too long; returns how many."""
        if not self._receiving():
            self._waiting.clear()
            return 0
        limit, ended = self._limit(), 0
        waiting: dict[tuple[object, ...], _Waiting] = {}
        for connection in self._connections():
            with connection, suppress(OSError):
                acknowledged = _unanswered(connection)
                if acknowledged is None:
                    continue
                peer = connection.getpeername()
                before = self._waiting.get(peer)
                since = before.since if before is not None and before.acknowledged == acknowledged else now
                if now - since >= limit:
                    connection.shutdown(socket.SHUT_RD)
                    ended += 1
                waiting[peer] = _Waiting(since, acknowledged)
        self._waiting = waiting
        return ended

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            self.look(time.monotonic())

    def _connections(self) -> Iterator[socket.socket]:
        """Give the open connections of the port, each as a socket of our own on it."""
        for name in os.listdir(_FILES):  # noqa: PTH208 (Path.iterdir makes an object of each)
            try:
                number = int(name)
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    continue
                connection = socket.socket(fileno=os.dup(number))
            except OSError:
                continue
            if self._is_ours(connection):
                yield connection
            else:
                connection.close()

    def _is_ours(self, connection: socket.socket) -> bool:
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.type != socket.SOCK_STREAM:
            return False
        try:
            connection.getpeername()
            return bool(connection.getsockname()[1] == self._port)
        except OSError:
            return False


def _unanswered(connection: socket.socket) -> int | None:
    """Return how many bytes the client has acknowledged, if something came from it since the last answer."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    (sent,), (came,) = struct.unpack_from("I", info, _SENT), struct.unpack_from("I", info, _CAME)
    acknowledged, received = struct.unpack_from("QQ", info, _BYTES)
    if received and (came < sent or (came == sent and acknowledged <= _NOTHING_SENT)):
        return int(acknowledged)
    return None
