"""Autoscaling while a rollout goes on, over a cluster in memory.

| situation                                    | what is expected                                                      |
|----------------------------------------------|-----------------------------------------------------------------------|
| a step is at hand                            | the new version has the pods that the next step needs                 |
| the new version has most of the traffic      | the old one keeps the pods to take everything back, and loses none    |
| both sleep when the rollout begins           | both wake; the first step waits for a pod; nobody sleeps meanwhile    |
| it was promoted, or rolled back              | each version by its own load again; who is not called sleeps          |
| the other version has no autoscaler          | by its own load                                                       |
"""

from typing import Any

import pytest

from scoring_operator.autoscaling.decision import PodLoad, Reading
from scoring_operator.autoscaling.trials import Part, part_of, weighed
from scoring_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE
from scoring_operator.spec import parse_service
from tests.operator.test_reconcile_rollout import PLAN, ROUTER, Service
from tests.operator.test_reconcile_versions import version

SLOTS = 4
BOUNDS = {"minReplicas": 1, "maxReplicas": 10, "target": 100}
SLEEPY = {"minReplicas": 0, "maxReplicas": 4, "idleSeconds": 30}


class Pods:
    """Pods that are ready as soon as they are asked for, unless their version is held; they share its load evenly."""

    def __init__(self, world: Service) -> None:
        self.world = world
        self.load = {"v1": 0.0, "v2": 0.0}
        self.called = {"v1": 0, "v2": 0}
        self.held: set[str] = set()

    async def ask(self, address: str) -> PodLoad | None:
        name = f"v{address.split('.')[1]}"
        busy = self.load[name] / replicas(self.world, name)
        return PodLoad(round(busy), 0, SLOTS)

    async def calls(self, address: str) -> dict[str, int] | None:
        return dict(self.called)

    def show(self) -> None:
        """Tell where the pods are."""
        for number, name in enumerate(("v1", "v2"), start=1):
            count = 0 if name in self.held else replicas(self.world, name)
            self._slice(name, [f"10.{number}.0.{pod}" for pod in range(count)])
            self.world.roll_out(f"iris-{name}", ready=count)
        self._slice(None, ["10.0.0.9"])

    def _slice(self, name: str | None, addresses: list[str]) -> None:
        labels = {"app.kubernetes.io/managed-by": "scoring-operator", "scoring.dev/autoscaled": "true"}
        labels |= {"scoring.dev/service": "iris"} | ({"scoring.dev/version": name} if name else {})
        endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
        metadata = {"name": f"iris-{name}-x", "namespace": "team", "labels": labels}
        self.world.kube.put(
            ENDPOINT_SLICE, {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints if addresses else []}
        )

    async def seconds(self, number: int, requests: int = 0) -> None:
        """Let time pass second by second, in which v2 answers so many requests each."""
        for _ in range(number):
            self.show()
            self.world.loop.autoscaler.begin(self)
            await self.world.loop.autoscaler.finished()
            await self.world.passes(1, requests)


def replicas(world: Service, name: str) -> int:
    return int(world.get(DEPLOYMENT, f"iris-{name}")["spec"]["replicas"])


async def scaled(default: str, bounds: dict[str, Any], world: Service | None = None, **rollout: Any) -> Service:
    """v1 and v2 with autoscalers, one of them the default."""
    world = world or Service()
    versions = [version(name, **({"default": True} if name == default else {})) for name in ("v1", "v2")]
    settings = {"maxConcurrent": SLOTS}
    world.service(
        model=None, versions=versions, autoscaling=bounds, requestSettings=settings, rollout={**PLAN, **rollout}
    )
    await world.settle()
    return world


async def awake(bounds: dict[str, Any]) -> tuple[Service, Pods]:
    world = await scaled("v1", bounds)
    await world.ready("iris-v1", "iris-v2", ROUTER)
    world.router("10.0.0.1")
    return world, Pods(world)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoring_operator.autoscaling.loop.AGAIN_SECONDS", 0.0)


async def test_pods_are_there_before_the_step_and_stay_for_the_way_back() -> None:
    world, pods = await awake(BOUNDS)
    pods.load = {"v1": 16, "v2": 0}
    await pods.seconds(15)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (4, 1)
    await scaled("v2", BOUNDS, world)
    await pods.seconds(15, requests=5)
    assert world.rollout()["share"] == 5
    assert (replicas(world, "v1"), replicas(world, "v2")) == (4, 2), "half of 16 requests is the next step"
    notes = [note for _, reason, note in world.kube.events if reason == "ScaledUp"]
    assert notes[-1].endswith("in the rollout to v2 it is to be ready for 8 requests")

    await pods.seconds(60, requests=5)
    assert world.rollout()["share"] == 50
    pods.load = {"v1": 8, "v2": 8}
    await pods.seconds(20, requests=5)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (4, 4)
    await pods.seconds(41, requests=5)
    assert world.rollout()["share"] == 100
    pods.load = {"v1": 0, "v2": 16}
    await pods.seconds(40, requests=5)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (4, 4)

    await pods.seconds(30, requests=5)
    assert world.rollout()["phase"] == "Promoted"
    await pods.seconds(100)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (1, 4)


async def test_a_sleeping_service_wakes_for_a_rollout_and_sleeps_after_it() -> None:
    world, pods = await awake(SLEEPY)
    await pods.seconds(40)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (0, 0)
    pods.held.add("v2")
    await scaled("v2", SLEEPY, world)
    assert (world.rollout()["phase"], world.rollout()["share"]) == ("Waiting", 0)
    await pods.seconds(2)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (1, 1)
    notes = [note for _, reason, note in world.kube.events if reason == "ScaledUp"]
    assert notes[-1] == "scaled version v2 from 0 to 1: neither version sleeps during the rollout to v2"
    await pods.seconds(50)
    assert world.rollout()["share"] == 0, "the first step waits for a pod"
    pods.held.clear()
    await pods.seconds(50)
    assert world.rollout()["share"] == 5
    assert (replicas(world, "v1"), replicas(world, "v2")) == (1, 1)

    await scaled("v2", SLEEPY, world, action="Abort", version="v2")
    assert world.rollout()["phase"] == "RolledBack"
    await pods.seconds(20)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (1, 1), "the idle time begins with the end"
    await pods.seconds(20)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (0, 0)
    assert world.condition("Stalled")["reason"] == "RolledBack"
    pods.called["v1"] += 1
    await pods.seconds(1)
    assert (replicas(world, "v1"), replicas(world, "v2")) == (1, 0)


async def test_the_part_of_each_version() -> None:
    world, _ = await awake(BOUNDS)
    await scaled("v2", BOUNDS, world)
    raw = next(found for (kind, _, _), found in world.kube.objects.items() if kind.kind == "ScoringService")
    service, status = parse_service(raw), raw["status"]
    assert part_of(service, status, "v1") == Part("v1", "v2", 100)
    assert part_of(service, status, "v2") == Part("v1", "v2", 50)
    assert part_of(service, status, "v3") is None
    last = {**status, "rollout": {**status["rollout"], "share": 100}}
    assert part_of(service, last, "v2") == Part("v1", "v2", 100)
    ended = {**status, "rollout": {**status["rollout"], "phase": "RolledBack"}}
    assert part_of(service, ended, "v1") is None
    assert part_of(service, {}, "v1") is None


def test_the_load_to_be_ready_for() -> None:
    part = Part("v1", "v2", 50)
    own, other = Reading(1.0, 2, SLOTS, 1), Reading(1.0, 8, SLOTS, 2)
    assert weighed(part, own, other) == Reading(1.0, 5, SLOTS, 1)
    assert weighed(part, own, None) == own
    assert weighed(part, Reading(1.0, 9, SLOTS, 3), Reading(1.0, 1, SLOTS, 1)).load == 9, "never less than it has"
