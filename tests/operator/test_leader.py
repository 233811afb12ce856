"""Leader election on a Lease, over HTTP, with the shortest times that the official election allows.

| what happens                           | what follows                                             |
|----------------------------------------|----------------------------------------------------------|
| two replicas                           | one works, the other stands by                           |
| the leader ends                        | it gives the Lease back, and the other works at once     |
| the Lease cannot be renewed            | the work is cancelled, and the process is told to end    |
| the work fails                         | the error comes out, and the Lease is given back         |
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from scoring_operator import leader
from scoring_operator.config import Settings
from scoring_operator.connection import Connection
from scoring_operator.leader import LeadershipLostError, lead
from tests.waiting import PATIENCE

SETTINGS = Settings(namespace="scoring-system", leader_election=True)


class Leases:
    """One Lease behind HTTP, which can be told to fail."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.broken = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.json_response({"kind": "Status", "code": 500, "message": "etcd is away"}, status=500)
        if request.method == "GET":
            missing = {"kind": "Status", "code": 404, "message": "not found"}
            return web.json_response(self.lease or missing, status=200 if self.lease else 404)
        self.lease = await request.json()
        return web.json_response(self.lease)

    @property
    def holder(self) -> str | None:
        return None if self.lease is None else self.lease["spec"].get("holderIdentity")

    def connection(self) -> Connection:
        return Connection(Configuration(host=self.url))


@pytest.fixture
async def leases(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Leases]:
    for name, seconds in (("_LEASE_SECONDS", 9), ("_RENEW_WITHIN", 6), ("_TRY_EVERY", 1), ("_CALL_SECONDS", 4)):
        monkeypatch.setattr(leader, name, seconds)
    found = Leases()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


class Work:
    """Work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = False

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_one_works_and_the_next_takes_over_at_once(leases: Leases) -> None:
    first_work, second_work = Work(), Work()
    first = asyncio.create_task(lead(leases.connection(), SETTINGS, first_work))
    await asyncio.wait_for(first_work.started.wait(), PATIENCE)
    held_by_first = leases.holder
    second = asyncio.create_task(lead(leases.connection(), SETTINGS, second_work))
    await asyncio.sleep(0.1)
    assert not second_work.started.is_set()

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first_work.ended
    assert leases.holder is None
    await asyncio.wait_for(second_work.started.wait(), PATIENCE)
    assert leases.holder not in (None, held_by_first)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_a_leader_that_cannot_renew_ends_its_work(leases: Leases) -> None:
    work = Work()
    leading = asyncio.create_task(lead(leases.connection(), SETTINGS, work))
    await asyncio.wait_for(work.started.wait(), PATIENCE)
    leases.broken = True
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(leading, PATIENCE)
    assert work.ended


async def test_an_error_of_the_work_comes_out(leases: Leases) -> None:
    async def work() -> None:
        raise ValueError("broken work")

    with pytest.raises(ValueError, match="broken work"):
        await asyncio.wait_for(lead(leases.connection(), SETTINGS, work), PATIENCE)
    assert leases.holder is None
