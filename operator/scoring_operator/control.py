"""The control loop: watch events in, passes out, and a complete listing now and then in case a watch missed something.

A listing also comes first of all: workers start on a complete picture, so that an operator that starts over settled
services writes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from scoring_operator.autoscaling.loop import Autoscaler, Clocks
from scoring_operator.autoscaling.polling import PodLoads
from scoring_operator.config import Settings
from scoring_operator.kinds import CHILDREN, ENDPOINT_SLICE, INGRESS_CLASS, SCORING_SERVICE, WATCHED, Kind
from scoring_operator.kube import ForbiddenError, Kube, KubeObject, Listing, NotFoundError
from scoring_operator.reconcile import Instruments, Reconciler
from scoring_operator.store import ServiceKey, Store, object_key, owner_key
from scoring_operator.workqueue import WorkQueue, work

logger = logging.getLogger(__name__)

PASS_LIMIT = 120.0
"""Seconds after which a pass is given up and tried again."""
STALE_AFTER = 2 * PASS_LIMIT
"""Seconds after which a pass that has not ended means that the operator hangs."""


class ControlLoop:
    """Everything of an operator but its watches."""

    def __init__(self, kube: Kube, settings: Settings, instruments: Instruments) -> None:
        self._kube = kube
        self._settings = settings
        metrics = self._metrics = instruments.metrics
        self._store = Store()
        self.queue: WorkQueue[ServiceKey] = WorkQueue()
        self.autoscaler = Autoscaler(kube, self._store, Clocks(instruments.steady, instruments.now), metrics)
        self.autoscaler.changed = self.queue.add
        self._reconciler = Reconciler(kube, self._store, settings, instruments)
        self._reconciler.loads = self.autoscaler.loads
        self.available: tuple[Kind, ...] = ()
        """The kinds that could be listed; those are to be watched."""
        metrics.watch_queue(
            {
                "waiting": lambda: float(len(self.queue)),
                "active": lambda: float(self.queue.active),
                "retrying": lambda: float(self.queue.retrying),
                "oldest_seconds": self.queue.longest_running,
            }
        )

    def on_event(self, kind: Kind, event: Mapping[str, Any]) -> None:
        """Take in a watch event: `type` (None for one of the first listing) and `object`."""
        found: KubeObject = dict(event["object"])
        news = self._store.remove(kind, found) if event["type"] == "DELETED" else self._store.put(kind, found)
        if news:
            self._metrics.noticed(kind.kind)
            self._enqueue(kind, found)

    async def resync(self) -> None:
        """List everything, and have every service worked on that something changed about.

        Raises what the API server answers where a kind that cannot be done without is missing or forbidden.
        """
        available: list[Kind] = []
        for kind in WATCHED:
            try:
                listing = await self._list(kind)
            except (NotFoundError, ForbiddenError) as error:
                if not kind.optional:
                    raise
                logger.debug("%s is left out: %s", kind, error)
                continue
            available.append(kind)
            for changed in self._store.replace_all(kind, listing):
                self._enqueue(kind, changed)
        self.available = tuple(available)
        self._reconciler.inspector.classes_known = INGRESS_CLASS in available
        self._reconciler.kinds.listed(available)

    async def resync_forever(self) -> None:
        """Resync at the interval that the settings name; one that fails is logged and left to the next."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                await self.resync()
            except Exception as error:
                logger.warning("the regular listing failed: %s", error)

    async def work(self) -> None:
        """Work on all services, and then on those about which something changes, until cancelled."""
        for service in self._store.all(SCORING_SERVICE):
            self._enqueue(SCORING_SERVICE, service)
        self._metrics.leading(True)
        try:
            async with PodLoads() as loads:
                scaling = asyncio.create_task(self.autoscaler.run(loads), name="autoscaler")
                try:
                    await work(self.queue, self._pass, self._settings.workers)
                finally:
                    scaling.cancel()
                    await asyncio.gather(scaling, return_exceptions=True)
        finally:
            self._metrics.leading(False)

    async def _pass(self, key: ServiceKey) -> float | None:
        async with asyncio.timeout(PASS_LIMIT):
            return await self._reconciler.reconcile(key)

    async def _list(self, kind: Kind) -> Listing:
        if not kind.namespaced or self._settings.clusterwide:
            return await self._kube.list(kind, None, kind.selector)
        listings = [await self._kube.list(kind, name, kind.selector) for name in self._settings.watch_namespaces]
        # The oldest of the moments: what is newer than it is left alone, which is right for each namespace.
        version = min((listing.version for listing in listings), key=lambda text: int(text) if text.isdigit() else 0)
        return Listing([found for listing in listings for found in listing.items], version)

    def _enqueue(self, kind: Kind, found: KubeObject) -> None:
        """Have the services worked on that an object is about."""
        if kind is SCORING_SERVICE:
            self.queue.add(ServiceKey(*object_key(found)))
            if self._store.get(kind, *object_key(found)) is None:
                self._reconciler.forget_service(found)
        elif kind is ENDPOINT_SLICE:
            pass  # the autoscaler looks by itself
        elif kind in CHILDREN:
            key = owner_key(found)
            if key is not None:
                self.queue.add(key)
            if self._store.get(kind, *object_key(found)) is None:
                self._reconciler.forget(kind, found)
        else:
            for service in self._store.all(SCORING_SERVICE):
                self.queue.add(ServiceKey(*object_key(service)))
