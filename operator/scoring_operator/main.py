"""Ties the control loop to kopf's watches and to the process: registration and order of start and end, no logic.

kopf is used for what it is best at, watches that survive; its change detection, annotations, finalizers, peering and
events stay off. When kopf's watches end, the process ends: a watch that died unnoticed would be worse than a restart.
"""

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import kopf

from scoring_operator.config import Settings
from scoring_operator.connection import Connection, connect
from scoring_operator.control import STALE_AFTER, ControlLoop
from scoring_operator.health import health_server
from scoring_operator.kinds import Kind
from scoring_operator.kube import Kube
from scoring_operator.leader import lead
from scoring_operator.metrics import Metrics
from scoring_operator.reconcile import Instruments
from scoring_operator.startup import ASK_EVERY, first_listing

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0


class WatchesEndedError(Exception):
    """kopf ended although nobody asked it to."""


async def run(settings: Settings) -> None:
    """Be the operator until SIGTERM or SIGINT.

    Raises what made it end otherwise: UnconfiguredError, WatchesEndedError, LeadershipLostError, or OSError when the
    health port is taken.
    """
    stopping = asyncio.Event()
    _on_signals(stopping)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        connection = await connect()
        kube = Kube(connection, settings.request_timeout_seconds, metrics.requested)
        stack.push_async_callback(kube.close)
        loop = ControlLoop(kube, settings, Instruments(metrics=metrics))
        await stack.enter_async_context(health_server(settings, metrics, lambda: _problem(loop)))
        logger.info("working for %s", connection.server, extra={"namespaces": list(settings.watch_namespaces) or "all"})
        if not await _unless(stopping, first_listing(loop)):
            return
        await _work(connection, settings, loop, stopping)


async def _work(connection: Connection, settings: Settings, loop: ControlLoop, stopping: asyncio.Event) -> None:
    """Watch, work and resync until stopped; the end of any of them is the end of all."""
    watching_ends, watching = asyncio.Event(), asyncio.Event()
    tasks: set[asyncio.Task[Any]] = {
        asyncio.create_task(_watch(connection, settings, loop, (watching, watching_ends)), name="watches"),
        asyncio.create_task(loop.resync_forever(), name="resync"),
        asyncio.create_task(_lead(connection, settings, loop), name="work"),
    }
    stop: asyncio.Task[Any] = asyncio.create_task(stopping.wait(), name="stop")
    watching_up: asyncio.Task[Any] = asyncio.create_task(watching.wait(), name="watching")
    await asyncio.wait({*tasks, stop, watching_up}, return_when=asyncio.FIRST_COMPLETED)
    _on_signals(stopping)  # kopf has put its own handlers in their place
    done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
    watching_ends.set()
    for task in tasks:
        if task.get_name() != "watches":
            task.cancel()
    await asyncio.wait(tasks, timeout=_DRAIN_SECONDS)
    for task in {*tasks, stop, watching_up}:
        task.cancel()
    await asyncio.gather(*tasks, stop, watching_up, return_exceptions=True)
    for task in done & tasks:
        task.result()
        raise WatchesEndedError(f"the {task.get_name()} ended unasked")


async def _lead(connection: Connection, settings: Settings, loop: ControlLoop) -> None:
    if settings.leader_election:
        await lead(connection, settings, loop.work)
    else:
        await loop.work()


async def _watch(
    connection: Connection, settings: Settings, loop: ControlLoop, flags: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """Run kopf until the second flag is set; the first is set once it is up."""
    up, end = flags
    await kopf.operator(
        registry=_registry(connection, loop),
        settings=_kopf_settings(loop.available),
        clusterwide=settings.clusterwide,
        namespaces=settings.watch_namespaces,
        standalone=True,
        ready_flag=up,
        stop_flag=end,
    )


def _registry(connection: Connection, loop: ControlLoop) -> kopf.OperatorRegistry:
    """One silent event handler for each kind, and the login."""
    registry = kopf.OperatorRegistry()
    for kind in loop.available:
        _register(registry, loop, kind)
    logins = 0

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal logins
        logins += 1
        if logins > 1:
            logger.warning("the cluster refused the credentials of a watch; trying again in %.0f s", ASK_EVERY)
            await asyncio.sleep(ASK_EVERY)
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=connection.session())

    return registry


def _register(registry: kopf.OperatorRegistry, loop: ControlLoop, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)
    async def on_event(event: Any, **_: Any) -> None:
        loop.on_event(kind, event)


def _kopf_settings(kinds: tuple[Kind, ...]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # the kinds are known, and so no right to read CRDs or namespaces is needed
    settings.networking.error_backoffs = _Endless()
    settings.process.ultimate_exiting_timeout = 25
    for kind in kinds:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
    return settings


class _Endless:
    """Delays (seconds) between tries to reach an API server that is away: watches wait for it and never give up."""

    def __iter__(self) -> Iterator[float]:
        yield from (1.0, 2.0, 5.0)
        while True:
            yield ASK_EVERY


def _problem(loop: ControlLoop) -> str:
    age = loop.queue.longest_running()
    return f"a pass has been running for {age:.0f} s" if age > STALE_AFTER else ""


async def _unless(stopping: asyncio.Event, coroutine: Any) -> bool:
    """Whether the coroutine came to its end before the stop."""
    task, stop = asyncio.create_task(coroutine), asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finished = task.done()
    for either in (task, stop):
        either.cancel()
    await asyncio.gather(task, stop, return_exceptions=True)
    if finished:
        task.result()
    return finished


def _on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
