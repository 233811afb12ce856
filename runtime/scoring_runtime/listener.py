"""granian, run inside this process.

granian's own server object forks its workers; a model server wants one process: the model is in memory once, the
process that Kubernetes signals is the one that drains, and its exit status is the one that is seen. So this module uses
granian's worker directly, which is what its own server does in the worker process. That makes it the one place that
depends on granian's inside, and the reason for pinning its minor version.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import TYPE_CHECKING, Any

from granian import _futures, _granian, net, wsgi
from granian.http import HTTP1Settings

from scoring_runtime.errors import SettingsInvalid

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# The stubs of granian's inside are not those of its code.
_inside: Any = _granian
_schedulers: Any = _futures
_sockets: Any = net
# Connections, idle ones included, that may be open at one time; more wait in the kernel's queue.
MAX_CONNECTIONS = 4096
_BACKLOG = 1024
_IDLE_SECONDS = 30
_NO_TLS: tuple[Any, ...] = (False, None, None, None, "tls1.3", None, [], False)


class Listener:
    """Serves a WSGI application on a bound socket, which it takes over, with at most `threads` threads.

    Listens once constructed.
    Several processes that were given the same socket share its connections: the kernel hands each to one that is free.
    """

    def __init__(self, app: WSGIApplication, bound: socket.socket, threads: int) -> None:
        logging.getLogger("_granian").setLevel(logging.WARNING)
        bound.listen(_BACKLOG)
        self._loop = asyncio.new_event_loop()
        self._signal = _inside.WorkerSignal()
        # granian closes it when it stops, so that what comes later is refused and does not wait for an answer.
        holder = _sockets.SocketHolder(bound.detach(), False, _BACKLOG)
        worker = _inside.WSGIWorker(
            1, (None, holder), None,
            1, threads, threads, _IDLE_SECONDS, MAX_CONNECTIONS,
            "1", HTTP1Settings(), None, None, *_NO_TLS, (None, None),
        )  # fmt: skip
        callback = wsgi._callback_wrapper(app, {"url_path_prefix": None})
        worker.serve_mtr(
            _schedulers._new_cbscheduler(self._loop, callback, impl_asyncio=True), self._loop, self._signal
        )

    def stop(self) -> None:
        """Accept nothing more and close idle connections; requests in progress are still answered."""
        self._signal.set()


def bind(host: str, port: int, setting: str = "SCORING_PORT") -> socket.socket:
    """Return a socket that has the address and does not listen yet: a connection is still refused.

    Raises SettingsInvalid when the address cannot be had.
    """
    bound = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setblocking(False)
    except OSError as error:
        if bound is not None:
            bound.close()
        why = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror
        raise SettingsInvalid(
            f"cannot listen on {host}:{port}: {why}; choose another {setting} or SCORING_HOST"
        ) from None
    return bound
