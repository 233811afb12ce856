"""The process: in which order the parts of the operator start and end.

When any part ends unasked, the whole process ends: a watch that died unnoticed would be worse than a restart.
"""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from scoring_operator.config import Settings
from scoring_operator.connection import Connection, connect
from scoring_operator.control import STALE_AFTER, ControlLoop
from scoring_operator.health import health_server
from scoring_operator.kube import Kube
from scoring_operator.leader import LeadershipLostError, lead
from scoring_operator.metrics import Metrics
from scoring_operator.reconcile import Instruments
from scoring_operator.startup import first_listing
from scoring_operator.watches import forgive_kopf, watch

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0
"""How long passes in progress may take to end after a SIGTERM."""

Task = asyncio.Task[Any]


class EndedError(Exception):
    """A part of the operator ended although nobody asked it to."""


async def run(settings: Settings) -> None:
    """Be the operator until SIGTERM or SIGINT.

    Raises UnconfiguredError without a cluster to work for, OSError when the health port is taken, LeadershipLostError,
    or EndedError.
    """
    stopping = asyncio.Event()
    stop = _task(stopping.wait(), "stop")
    _on_signals(stopping)
    asyncio.get_running_loop().set_exception_handler(forgive_kopf)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        connection = await connect()
        kube = Kube(connection, settings.request_timeout_seconds, metrics.requested)
        stack.push_async_callback(kube.close)
        loop = ControlLoop(kube, settings, Instruments(metrics=metrics))
        await stack.enter_async_context(health_server(settings, metrics, lambda: _problem(loop)))
        logger.info("working for %s", connection.server, extra={"namespaces": list(settings.watch_namespaces) or "all"})
        listing = _task(first_listing(loop), "first listing")
        await asyncio.wait({listing, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            listing.result()
            await _work(connection, settings, loop, (stopping, stop))
        listing.cancel()


async def _work(
    connection: Connection, settings: Settings, loop: ControlLoop, stopping: tuple[asyncio.Event, Task]
) -> None:
    """Watch, work and resync until stopped; the end of any of them is the end of all.

    `stopping` is the flag and a task that waits for it. All tasks here are begun before the watches are: kopf, when it
    ends, cancels every task that was begun after it.
    """
    flag, stop = stopping
    up, stop_watching = asyncio.Event(), asyncio.Event()
    started = _task(up.wait(), "start of the watches")
    others = {_task(loop.resync_forever(), "resync"), _task(_lead(connection, settings, loop), "work")}
    watches = _task(watch(connection, settings, loop, (up, stop_watching)), "watches")
    await asyncio.wait({watches, *others, started, stop}, return_when=asyncio.FIRST_COMPLETED)
    _on_signals(flag)  # kopf has put its own handlers in their place
    await asyncio.wait({watches, *others, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop_watching.set()
    for task in (started, *others):
        task.cancel()
    await asyncio.wait({watches, *others}, timeout=_DRAIN_SECONDS)
    watches.cancel()
    await asyncio.gather(watches, started, *others, return_exceptions=True)
    if not flag.is_set():
        raise _why_ended([watches, *others])


def _why_ended(tasks: list[Task]) -> Exception:
    """What made the first of `tasks` end; the end of the watches makes kopf cancel all that was started after them."""
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LeadershipLostError):
            return error
        if error is not None:
            return EndedError(f"the {task.get_name()} failed: {error or type(error).__name__}")
    return EndedError("a part of it ended unasked")


async def _lead(connection: Connection, settings: Settings, loop: ControlLoop) -> None:
    if settings.leader_election:
        await lead(connection, settings, loop.work)
    else:
        await loop.work()


def _problem(loop: ControlLoop) -> str:
    age = loop.queue.longest_running()
    return f"a pass has been running for {age:.0f} s" if age > STALE_AFTER else ""


def _task(coroutine: Coroutine[Any, Any, Any], name: str) -> Task:
    return asyncio.create_task(coroutine, name=name)


def _on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
