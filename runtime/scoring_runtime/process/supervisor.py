"""Several serving processes on one address: the model is loaded once and the processes are forked from that one.

Forked processes share the loaded model's memory until one of them writes to a page, so the second costs little. This is
for models whose Python code, and not whose arithmetic, is what takes the time: one process is enough for the others,
and in a cluster more replicas are better than more processes.

The first process does nothing but watch: it passes SIGTERM on, starts a process anew that was killed, and ends all of
them when one says that the model or the settings are wrong. It never starts a thread, because a thread does not survive
a fork and the locks that it holds stay locked.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

_POLL_SECONDS = 0.1
# A process that dies again and again is started at most this often.
_RESTART_SECONDS = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger(__name__)

ServeOne = Callable[[int], int]


class Supervisor:
    """Runs `count` copies of `serve_one`, which is called in each with its number and returns its exit status.

    `leave` ends a copy with a status. A copy that ends by itself with another status than 0 ends them all.
    """

    def __init__(self, count: int, serve_one: ServeOne, leave: Callable[[int], None]) -> None:
        self._count = count
        self._serve_one = serve_one
        self._leave = leave
        self._numbers: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._stopping = False
        self._status = 0

    def run(self, on_stop: Callable[[], None]) -> int:
        """Start the copies and return when all have ended: with 0, or with the first other status that one gave.

        `on_stop` is called once when no copy will be started any more.
        """
        for one in _SIGNALS:
            signal.signal(one, self._pass_on)
        # What is there now is never collected: the collector would write to every object and so copy every page.
        gc.collect()
        gc.freeze()
        for number in range(self._count):
            if not self._stopping:
                self._start(number)
        told = False
        while self._numbers:
            if self._stopping and not told:
                on_stop()
                told = True
            self._reap()
            time.sleep(_POLL_SECONDS)
        return self._status

    def _start(self, number: int) -> None:
        self._started[number] = time.monotonic()
        # A signal meant for the copy must not run the handlers that it inherits.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            try:
                self._leave(self._serve_one(number))
            except BaseException:
                _logger.exception("process %d failed", number)
            finally:
                os._exit(1)
        self._numbers[pid] = number
        # What came meanwhile is passed on to this copy too.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _reap(self) -> None:
        for pid in list(self._numbers):
            ended, how = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            number = self._numbers.pop(pid)
            status = os.waitstatus_to_exitcode(how)
            if self._stopping:
                self._status = self._status or max(status, 0)
            elif status > 0:
                _logger.error("process %d ended with status %d; stopping the others", number, status)
                self._status, self._stopping = status, True
                self._signal_all(signal.SIGTERM)
            else:
                how_it_ended = f"was ended by signal {-status}" if status else "ended"
                _logger.error("process %d %s; starting it anew", number, how_it_ended)
                self._restart(number)

    def _restart(self, number: int) -> None:
        wait = self._started[number] + _RESTART_SECONDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if not self._stopping:
            self._start(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._signal_all(number)

    def _signal_all(self, number: int) -> None:
        for pid in list(self._numbers):
            os.kill(pid, number)
