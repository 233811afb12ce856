"""One working replica among several: a Lease decides, and the others stand by with their caches warm.

The election itself is the official client's. What is added: a call that hangs or fails counts as a failed renewal
instead of ending the election, and a leader that ends gives the Lease back, so that the next takes over at once and not
after the Lease ran out.
"""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from scoring_operator.config import Settings
from scoring_operator.connection import Connection

logger = logging.getLogger(__name__)

LEASE = "scoring-operator"
_LEASE_SECONDS = 15
_RENEW_WITHIN = 10
_TRY_EVERY = 2
_CALL_SECONDS = 2


class LeadershipLostError(Exception):
    """Another replica may be working by now: this one has to end at once."""


async def lead(connection: Connection, settings: Settings, work: Callable[[], Awaitable[None]]) -> None:
    """Wait until this replica leads, then do `work` until it ends or is cancelled.

    Raises LeadershipLostError when the Lease could not be renewed in time; `work` has been cancelled by then.
    """
    identity = f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    lease = {"lease": f"{settings.namespace}/{LEASE}"}
    async with ApiClient(connection.configuration) as client:
        lock = _Lock(LEASE, settings.namespace, identity, client)
        leads = asyncio.Event()

        async def on_started() -> None:
            leads.set()

        async def on_stopped() -> None:
            logger.error("this replica no longer leads, because its Lease could not be renewed", extra=lease)

        logger.info("standing by for the lead", extra=lease)
        config = Config(lock, _LEASE_SECONDS, _RENEW_WITHIN, _TRY_EVERY, on_started, on_stopped)
        electing = asyncio.create_task(LeaderElection(config).run(), name="leader election")
        try:
            await _first(electing, asyncio.create_task(leads.wait()))
            logger.info("this replica leads", extra=lease)
            await _first(electing, asyncio.create_task(_run(work)))
        finally:
            await _cancelled(electing)
            if leads.is_set():
                await lock.release()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _first(electing: "asyncio.Task[None]", doing: "asyncio.Task[Any]") -> None:
    """Await `doing` for as long as the election goes on."""
    try:
        await asyncio.wait({electing, doing}, return_when=asyncio.FIRST_COMPLETED)
        if electing.done():
            electing.result()
            raise LeadershipLostError("this replica's Lease could not be renewed in time")
        doing.result()
    finally:
        await _cancelled(doing)


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Lock(LeaseLock):  # type: ignore[misc]
    """A Lease whose calls have a time limit, and for which every failure is an answer."""

    async def get(self, name: str, namespace: str) -> Any:
        """The election record, or why there is none."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await super().get(name, namespace)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__}: {error}")

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Whether the Lease could be made."""
        return await self._answered(self._created(name, namespace, election_record))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Whether the Lease could be renewed."""
        return await self._answered(super().update(name, namespace, updated_record))

    async def release(self) -> None:
        """Give the Lease back, if it still can be."""
        found, record = await self.get(self.name, self.namespace)
        if found and record.holder_identity == self.identity and self.lease_reference is not None:
            self.lease_reference.spec.holder_identity = None
            replacing = self.api_instance.replace_namespaced_lease(self.name, self.namespace, self.lease_reference)
            try:
                await asyncio.wait_for(replacing, _CALL_SECONDS)
            except (ApiException, aiohttp.ClientError, OSError, TimeoutError) as error:
                logger.warning("the Lease could not be given back: %s", type(error).__name__)

    async def _created(self, name: str, namespace: str, election_record: Any) -> bool:
        """Make the Lease; the client's own create() passes a `pretty` that its generated method refuses."""
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await self.api_instance.create_namespaced_lease(namespace, lease)
        except ApiException as error:
            logger.warning("the Lease could not be made: %s", error.reason)
            return False
        return True

    async def _answered(self, call: Coroutine[Any, Any, bool]) -> bool:
        try:
            return await asyncio.wait_for(call, _CALL_SECONDS)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            logger.warning("the Lease could not be written: %s", type(error).__name__)
            return False
