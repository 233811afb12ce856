"""What became of `accelerate: onnx` is asked of one pod, once, and kept in the status.

| a version with accelerate          | a pod is asked                                   | status          |
|------------------------------------|--------------------------------------------------|-----------------|
| not ready                          | no                                               | nothing         |
| becomes ready                      | one, once                                        | what it said    |
| is settled, another operator       | no                                               | kept            |
| another spec                       | again, when it is ready                          | the new answer  |
| pods that do not answer            | a few times, ever later, then no more            | nothing         |
| without accelerate                 | no                                               | nothing         |
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from scoring_operator.acceleration import Accelerations, ask_pod, summary
from scoring_operator.conditions import VersionFacts
from scoring_operator.kinds import DEPLOYMENT, POD, SCORING_SERVICE
from scoring_operator.kube import ApiUnavailableError
from scoring_operator.naming import selector
from scoring_operator.spec import ScoringService, parse_service
from tests.operator.fake_kube import FakeKube, World
from tests.operator.test_pods import condition

CONVERTED = {"accelerate": "onnx", "accelerate_times_faster": 3.4, "accelerate_largest_difference": 6e-8}
SLOWER = {"accelerate": "onnx", "accelerate_times_faster": 1.5, "accelerate_largest_difference": 0.0}
UNCONVERTED = {"accelerate": "none", "accelerate_reason": "accelerate: onnx is not used:\n no converter"}
SAID = {"inUse": "onnx", "timesFaster": "3.4", "largestDifference": "6e-08"}


@pytest.mark.parametrize(
    ("models", "found"),
    [
        ([{"parameters": CONVERTED}], SAID),
        ([{"parameters": {**CONVERTED, "accelerate": "compile"}}], {**SAID, "inUse": "compile"}),
        ([{"parameters": UNCONVERTED}], {"inUse": "original", "message": "accelerate: onnx is not used: no converter"}),
        (
            [{"name": "a", "parameters": CONVERTED}, {"name": "b", "parameters": SLOWER}],
            {"inUse": "onnx", "timesFaster": "1.5", "largestDifference": "6e-08"},
        ),
        (
            [{"name": "a", "parameters": CONVERTED}, {"name": "b", "parameters": UNCONVERTED}],
            {**SAID, "inUse": "both", "message": "model b: accelerate: onnx is not used: no converter"},
        ),
        ([], None),
        ([{"parameters": {"platform": "x"}}, 7, {"parameters": None}], None),
        ([{"parameters": {"accelerate": "onnx", "accelerate_times_faster": "many"}}], {"inUse": "onnx"}),
    ],
)
def test_what_the_models_of_a_pod_say_in_one(models: list[Any], found: Any) -> None:
    assert summary(models) == found


def test_a_long_reason_is_cut() -> None:
    found = summary([{"parameters": {"accelerate": "none", "accelerate_reason": "x" * 5000}}])
    assert found is not None
    assert len(found["message"]) == 600


class ModelServer:
    """Answers as a pod would, and counts."""

    def __init__(self) -> None:
        self.answer: Callable[[], web.Response] = lambda: web.json_response({"models": [{"parameters": CONVERTED}]})
        self.asked = 0

    async def respond(self, request: web.Request) -> web.Response:
        self.asked += 1
        return self.answer()


@pytest.fixture
async def pod_server() -> AsyncIterator[tuple[ModelServer, int]]:
    serving, app = ModelServer(), web.Application()
    app.router.add_get("/model", serving.respond)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        yield serving, server.port


async def test_a_pod_is_asked(pod_server: tuple[ModelServer, int]) -> None:
    serving, port = pod_server
    assert await ask_pod("127.0.0.1", port) == [{"parameters": CONVERTED}]
    for answer in (
        lambda: web.Response(status=401),
        lambda: web.Response(text="no JSON"),
        lambda: web.json_response([1]),
        lambda: web.json_response({"models": 1}),
        lambda: web.Response(status=302, headers={"Location": "/model"}),
        lambda: web.json_response({"models": ["x" * 100_000]}),
    ):
        serving.answer = answer
        assert await ask_pod("127.0.0.1", port) is None
    assert serving.asked == 7


async def test_nobody_listens(unused_tcp_port: int) -> None:
    assert await ask_pod("127.0.0.1", unused_tcp_port) is None


def service(**spec: Any) -> ScoringService:
    metadata = {"name": "iris", "namespace": "team", "uid": "s", "generation": 1}
    model = {"uri": "s3://models/iris/3/", "framework": "sklearn"}
    return parse_service({"metadata": metadata, "spec": {"model": model, "accelerate": "onnx", **spec}})


def pod(name: str, address: str = "127.0.0.1", ready: str = "True") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "labels": selector("iris", "default"), "uid": name}
    return {"metadata": metadata, "status": {"podIP": address, "conditions": [condition("Ready", ready)]}}


READY = VersionFacts(name="default", wanted=1, replicas=1, ready=1, complete=True)
STARTING = VersionFacts(name="default", wanted=1, replicas=1, ready=0, complete=False)


class Asked:
    """Accelerations of a version whose pods answer as they are told, at a time that is moved by hand."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.kube.put(POD, pod("old", "10.0.0.1", ready="False"))
        self.kube.put(POD, pod("new", "10.0.0.2"))
        self.addresses: list[str] = []
        self.models: list[Any] | None = None
        self.seconds = 0.0
        self.of = Accelerations(self.kube, lambda: self.seconds, self._ask)  # type: ignore[arg-type]

    async def _ask(self, address: str) -> list[Any] | None:
        self.addresses.append(address)
        return self.models


async def test_pods_that_do_not_answer_are_asked_a_few_times() -> None:
    world, wanted = Asked(), service()
    assert await world.of.known(wanted, [STARTING], {}) == {}
    assert (world.addresses, world.of.next_try(wanted)) == ([], None)
    waits = []
    while True:
        for _ in range(3):
            assert await world.of.known(wanted, [READY], {}) == {}
        wait = world.of.next_try(wanted)
        if wait is None:
            break
        waits.append(wait)
        world.seconds += wait
    assert waits == [5, 30, 120]
    assert world.addresses == ["10.0.0.2"] * 4
    # Another spec begins anew; an answer ends it.
    world.models = [{"parameters": CONVERTED}]
    other = service(model={"uri": "s3://models/iris/4/", "framework": "sklearn"})
    assert await world.of.known(other, [READY], {}) == {"default": SAID}
    assert world.of.next_try(other) is None


async def test_an_api_server_that_fails_is_asked_again() -> None:
    world, wanted = Asked(), service()
    world.models = [{"parameters": CONVERTED}]
    world.kube.refuse = lambda *_: ApiUnavailableError("away")
    assert await world.of.known(wanted, [READY], {}) == {}
    world.kube.refuse = lambda *_: None
    world.seconds += world.of.next_try(wanted) or 0
    assert await world.of.known(wanted, [READY], {}) == {"default": SAID}


async def test_what_the_status_says_is_kept_for_the_same_spec() -> None:
    world, wanted = Asked(), service()
    record = {"name": "default", "specHash": wanted.default_version.spec_hash, "acceleration": SAID}
    assert await world.of.known(wanted, [STARTING], {"versions": [record]}) == {"default": SAID}
    assert await world.of.known(wanted, [STARTING], {"versions": [{**record, "specHash": "other"}]}) == {}
    assert await world.of.known(service(accelerate="none"), [READY], {"versions": [record]}) == {}
    assert world.addresses == []


async def test_whole_passes(pod_server: tuple[ModelServer, int]) -> None:
    serving, port = pod_server
    world = World()

    def ask_here() -> None:
        world.loop._reconciler.accelerations = Accelerations(
            world.kube,  # type: ignore[arg-type]
            lambda: world.seconds,
            partial(ask_pod, port=port),
        )

    ask_here()
    world.service(accelerate="onnx")
    await world.settle()
    world.kube.put(POD, pod("iris-1"))
    assert serving.asked == 0

    def become_ready(deployment: dict[str, Any]) -> None:
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **counts}

    name = next(name for kind, _, name in world.kube.objects if kind is DEPLOYMENT)
    world.kube.change(DEPLOYMENT, name, become_ready)
    await world.settle()
    (version,) = world.kube.objects[(SCORING_SERVICE, "team", "iris")]["status"]["versions"]
    assert version["acceleration"] == SAID

    world.start()
    ask_here()
    world.kube.calls.clear()
    await world.loop.resync()
    await world.settle()
    assert (serving.asked, world.kube.writes) == (1, [])
    world.service(accelerate="none")
    await world.settle()
    (version,) = world.kube.objects[(SCORING_SERVICE, "team", "iris")]["status"]["versions"]
    assert "acceleration" not in version
