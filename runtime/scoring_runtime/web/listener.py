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
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from granian import _futures, _granian, net, wsgi
from granian.http import HTTP1Settings

from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.web.deferred import AWAITED, SEND

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# The stubs of granian's inside are not those of its code.
_inside: Any = _granian
_schedulers: Any = _futures
_sockets: Any = net
_Pieces: Any = wsgi.ResponseIterWrap
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
        scheduler = _schedulers._new_cbscheduler(self._loop, _answering(app), impl_asyncio=True)
        worker.serve_mtr(scheduler, self._loop, self._signal)

    def stop(self) -> None:
        """Accept nothing more and close idle connections; requests in progress are still answered."""
        self._signal.set()
        # Requests run in threads of granian and not on this loop, which only its worker object wants to have.
        self._loop.close()


class _Started:
    """The `start_response` of one request: keeps what it is called with until the body is sent."""

    __slots__ = ("_answering", "headers", "status")

    def __init__(self, answering: Any) -> None:
        self._answering = answering

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        self.status = int(status[:3])
        self.headers = headers

    def send(self, body: bytes) -> None:
        """See `deferred.Send`."""
        self._answering.response_bytes(self.status, self.headers, body)


def _answering(app: WSGIApplication) -> Callable[[Any, dict[str, Any]], None]:
    """Return what granian calls with each request: its answering object, and the request's part of the environ.

    granian's own is slower, and puts the process' environment into every request, where a variable HTTP_PROXY looks
    like a header that the client sent.
    """
    base: dict[str, Any] = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "granian",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
    }
    call: Callable[[dict[str, Any], _Started], Iterable[bytes]] = app  # type: ignore[assignment]

    def run(answering: Any, request: dict[str, Any]) -> None:
        started = _Started(answering)
        environ = base | request
        environ[SEND] = started.send
        body = call(environ, started)
        if body is AWAITED:
            return
        if type(body) is list:
            started.send(body[0] if len(body) == 1 else b"".join(body))
        else:
            answering.response_iter(started.status, started.headers, _Pieces(body))

    return run


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
