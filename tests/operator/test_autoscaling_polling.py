"""Asking pods for their load, over HTTP on 127.0.0.1; and where the pods are.

| what a pod does                                 | what is expected                  |
|-------------------------------------------------|-----------------------------------|
| tells its load                                  | the load                          |
| a router tells who was called                   | the count of the version          |
| refuses, redirects, tells nonsense, is not there | no load, no error                 |
| EndpointSlices of several versions and families | each ready pod once               |
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from scoring_operator.autoscaling.decision import PodLoad
from scoring_operator.autoscaling.polling import PodLoads, addresses, ask_all, calls_of

REPORT = '{"busy": 3, "queued": 2, "slots": 8}'


class Pod:
    """A small HTTP server in the place of a pod's port for metrics."""

    def __init__(self) -> None:
        self.answer = web.Response
        self.status, self.body, self.headers = 200, REPORT, {"Content-Type": "application/json"}
        self.paths: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        return web.Response(status=self.status, text=self.body, headers=self.headers)


@pytest.fixture
async def pod() -> Pod:
    return Pod()


@pytest.fixture
async def loads(pod: Pod) -> AsyncIterator[PodLoads]:
    runner = web.ServerRunner(web.Server(pod.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with PodLoads(port) as found:
        yield found
    await runner.cleanup()


async def test_a_pod_tells_its_load(pod: Pod, loads: PodLoads) -> None:
    assert await ask_all(loads, ["127.0.0.1"] * 3) == [PodLoad(3, 2, 8)] * 3
    assert set(pod.paths) == {"/load"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, '{"error": {}}'),
        (404, ""),
        (302, ""),
        (500, REPORT),
        (200, "busy"),
        (200, "[]"),
        (200, "null"),
        (200, '{"busy": 1, "queued": 1}'),
        (200, '{"busy": null, "queued": 1, "slots": 1}'),
        (200, '{"busy": 1, "queued": 1, "slots": 0}'),
        (200, '{"busy": -1, "queued": 1, "slots": 4}'),
        (200, '{"busy": 1e999, "queued": 1, "slots": 4}'),
        (200, '{"busy": 1, "queued": 1, "slots": 4, "more": "' + "x" * 100_000 + '"}'),
    ],
)
async def test_nonsense_is_no_load(pod: Pod, loads: PodLoads, status: int, body: str) -> None:
    pod.status, pod.body = status, body
    if status == 302:
        pod.headers = {"Location": "http://127.0.0.1:1/load"}
    assert await loads.ask("127.0.0.1") is None


async def test_a_router_tells_who_was_called(pod: Pod, loads: PodLoads) -> None:
    pod.body = "cluster.v1.upstream_rq_total: 4\n"
    assert await calls_of(loads, ["127.0.0.1"], "v1") == {"127.0.0.1": 4}
    assert await calls_of(loads, ["127.0.0.1"], "v2") == {"127.0.0.1": 0}
    pod.status = 503
    assert await calls_of(loads, ["127.0.0.1"], "v1") == {"127.0.0.1": None}
    assert set(pod.paths) == {"/stats"}


async def test_a_pod_that_is_not_there_tells_nothing() -> None:
    async with PodLoads(1) as loads:
        assert await ask_all(loads, ["127.0.0.1", "::1", "no such address"]) == [None, None, None]


ROUTER_LABELS = {"scoring.dev/service": "iris"}


def endpoint_slice(version: str, *endpoints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    labels = {"scoring.dev/service": "iris", "scoring.dev/version": version}
    return {
        "metadata": {"namespace": "team", "labels": labels},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        **fields,
    }


def endpoint(address: str, ready: bool | None = True, pod: str | None = None) -> dict[str, Any]:
    target = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {"addresses": [address], "conditions": {"ready": ready}, **target}


def test_each_ready_pod_is_found_once() -> None:
    slices = [
        endpoint_slice("v1", endpoint("10.0.0.2", pod="b"), endpoint("10.0.0.1", None, "a")),
        endpoint_slice("v1", endpoint("fd00::1", pod="a"), addressType="IPv6"),
        endpoint_slice("v1", endpoint("10.0.0.3", False, "c"), endpoint("10.0.0.4")),
        endpoint_slice("v2", endpoints=None),
        endpoint_slice("v3", endpoint("name"), addressType="FQDN"),
        {"metadata": {"namespace": "team", "labels": {}}},
        {**endpoint_slice("", endpoint("10.0.0.9")), "metadata": {"namespace": "team", "labels": ROUTER_LABELS}},
    ]
    assert addresses(slices) == {
        ("team", "iris", "v1"): ["10.0.0.1", "10.0.0.2", "10.0.0.4"],
        ("team", "iris", "v2"): [],
        ("team", "iris", ""): ["10.0.0.9"],
    }
