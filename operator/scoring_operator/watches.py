"""kopf, set up for what it is best at: watches that survive. All else it offers is off.

No change detection (the operator compares with the wanted state), no annotations, finalizers, peering or events. The
kinds are known, so kopf does not scan for them, and no right to read CustomResourceDefinitions or namespaces is needed.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import kopf

from scoring_operator.config import Settings
from scoring_operator.connection import Connection
from scoring_operator.control import ControlLoop
from scoring_operator.kinds import Kind

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""Seconds between tries to reach an API server that is away."""
_EXIT_SECONDS = 25.0
"""A process that has not ended by then is killed: less than the 30 s that kubelet gives it."""


async def watch(
    connection: Connection, settings: Settings, loop: ControlLoop, flags: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """Feed `loop` with events until the second flag is set; the first is set once the watches are up."""
    up, end = flags
    await kopf.operator(
        registry=_registry(connection, loop),
        settings=kopf_settings(loop.available),
        clusterwide=settings.clusterwide,
        namespaces=settings.watch_namespaces,
        standalone=True,
        ready_flag=up,
        stop_flag=end,
    )


def forgive_kopf(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for the event loop: kopf leaves failed tasks behind when it ends, and has told of them."""
    source = repr(context.get("future") or context.get("task") or context.get("handle"))
    if "kopf" in source:
        logger.debug("left behind by kopf: %s", context.get("message"))
    else:
        loop.default_exception_handler(context)


def kopf_settings(kinds: tuple[Kind, ...]) -> kopf.OperatorSettings:
    """kopf's own settings for watching `kinds`."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.error_backoffs = _Endless()
    settings.process.ultimate_exiting_timeout = _EXIT_SECONDS
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    for kind in kinds:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
    return settings


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
            logger.warning("the cluster refused the credentials of a watch; trying again in %.0f s", RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=connection.session())

    return registry


def _register(registry: kopf.OperatorRegistry, loop: ControlLoop, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)
    async def on_event(event: Any, **_: Any) -> None:
        loop.on_event(kind, event)


class _Endless:
    """Delays (seconds) between tries of a request: watches wait for the API server and never give up."""

    def __iter__(self) -> Iterator[float]:
        yield from (1.0, 2.0, 5.0)
        while True:
            yield RETRY_SECONDS


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no state of objects: kopf would copy every object several times to compare it with nothing."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None: ...


class _NoProgress(kopf.ProgressStorage):
    """Remembers no progress of handlers: they are done when they return."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None: ...

    def purge(self, **_: Any) -> None: ...

    def touch(self, **_: Any) -> None: ...

    def clear(self, *, essence: Any) -> Any:
        return essence
