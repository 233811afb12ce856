"""Whole passes over a service whose new default version gets its traffic step by step.

| situation                                       | what is expected                                                |
|-------------------------------------------------|-----------------------------------------------------------------|
| a good version                                  | every step in the routers' files and the status, then Ready     |
| it fails, or is slow                            | the old one has everything; Stalled, MESSAGE, an Event say why  |
| another operator after every pass               | the same end                                                    |
| the operator dies before it applied a rollback  | the next one applies it                                         |
| Pause, Abort, Promote in the spec               | the share stays; nothing; everything                            |
| no rollout goes on                              | no router is asked                                              |
| pods of the router come, restart, are silent    | what they counted is summed, and nothing twice                  |
"""

from collections import Counter
from typing import Any

import pytest

from scoring_operator.kinds import POD
from scoring_operator.kube import ApiUnavailableError
from scoring_operator.naming import router_name, router_selector
from tests.operator.test_reconcile_versions import Rollout as Versions
from tests.operator.test_reconcile_versions import version

ROUTER = router_name("iris")
LIMITS = {"maxErrorPercent": 1, "maxP99Milliseconds": 250, "minRequests": 50}
PLAN = {"steps": [5, 50, 100], "intervalSeconds": 60, "analysis": LIMITS}
BOUNDS = ("10", "250", "500", "+Inf")


class RouterPod:
    """What one pod of the router has counted since it started."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.slow: Counter[str] = Counter()
        self.silent = False

    def page(self) -> str:
        if self.silent:
            raise ConnectionRefusedError("connection refused")
        lines = ["# TYPE envoy_cluster_upstream_rq_xx counter"]
        for (name, kind), count in self.answers.items():
            labels = f'envoy_response_code_class="{kind}",envoy_cluster_name="{name}"'
            lines.append(f"envoy_cluster_upstream_rq_xx{{{labels}}} {count}")
        lines.append("# TYPE envoy_cluster_upstream_rq_time histogram")
        for name in {name for name, _ in self.answers}:
            total = sum(count for (other, _), count in self.answers.items() if other == name)
            for bound in BOUNDS:
                below = total - (self.slow[name] if bound in BOUNDS[:2] else 0)
                labels = f'envoy_cluster_name="{name}",le="{bound}"'
                lines.append(f"envoy_cluster_upstream_rq_time_bucket{{{labels}}} {below}")
        return "\n".join([*lines, ""])


class Service(Versions):
    """A cluster in memory with a service of two versions, whose router counts what it is told to."""

    def __init__(self) -> None:
        self.pods: dict[str, RouterPod] = {}
        self.asked: list[str] = []
        super().__init__()

    async def read_page(self, url: str) -> str:
        self.asked.append(url)
        assert ":8082/metrics?" in url
        return self.pods[url.split("/")[2].removesuffix(":8082")].page()

    def router(self, address: str) -> RouterPod:
        """A pod of the router begins."""
        metadata = {"name": address, "namespace": "team", "labels": router_selector("iris"), "uid": address}
        self.kube.put(POD, {"metadata": metadata, "status": {"podIP": address}})
        self.pods[address] = RouterPod()
        return self.pods[address]

    async def promote(self, **rollout: Any) -> None:
        """Write v2 as the default version."""
        versions = [version("v1"), version("v2", default=True)]
        self.service(model=None, versions=versions, rollout={**PLAN, **rollout})
        await self.settle()

    async def passes(self, seconds: float, requests: int = 0, *, errors: int = 0, slow: int = 0) -> None:
        """Time passes, in which v2 answers `requests`, then comes the pass that the timer asked for."""
        pods = [pod for pod in self.pods.values() if not pod.silent]
        for number in range(requests):
            pod = pods[number % len(pods)]
            pod.answers["v2", 5 if number < errors else 2] += 1
            pod.slow["v2"] += number < slow
            pod.answers["v1", 2] += 1
        await self.wait(seconds)

    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status().get("rollout", {})
        return found

    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.kube.events]


async def trial(**rollout: Any) -> Service:
    """v1 has proved itself, v2 is the new default, and everything is ready."""
    world = Service()
    world.service(model=None, versions=[version("v1"), version("v2")], rollout=PLAN)
    await world.settle()
    await world.ready("iris-v1", "iris-v2", ROUTER)
    assert (world.status()["stableVersion"], world.rollout()) == ("v1", {})
    world.router("10.0.0.1")
    world.router("10.0.0.2")
    await world.promote(**rollout)
    return world


async def test_a_good_version_goes_step_by_step() -> None:
    world = await trial()
    await world.passes(1)
    assert world.weights() == {"v1": 95, "v2": 5}
    assert world.status()["traffic"] == "v1=95 (wants 0),v2=5 (wants 100)"
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "RolloutProgressing")
    assert ready["message"].startswith("step 1 of 3: v2 has 5 % of the default's traffic")
    assert world.condition("Stalled")["status"] == "False"
    await world.passes(61, 49)
    assert world.weights() == {"v1": 95, "v2": 5}
    assert (world.rollout()["candidate"]["requests"], world.rollout()["met"]["of"]) == (49, 98)
    await world.passes(10, 1)
    assert world.weights() == {"v1": 50, "v2": 50}
    await world.passes(61, 100)
    assert world.weights() == {"v2": 100}
    assert world.status()["stableVersion"] == "v1", "the last step proves something too"
    await world.passes(61, 100)
    assert (world.rollout()["phase"], world.status()["stableVersion"]) == ("Promoted", "v2")
    assert world.status()["traffic"] == "v1=0,v2=100"
    assert world.condition("Ready")["status"] == "True"
    assert [reason for reason in world.reasons() if reason.startswith("Roll")] == [
        "RolloutStep",
        "RolloutStep",
        "RolloutStep",
        "RolloutPromoted",
    ]
    world.kube.calls.clear()
    world.asked.clear()
    await world.passes(600)
    assert (world.kube.calls, world.asked) == ([], [])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"errors": 10}, "10 % of 100 requests failed (analysis.maxErrorPercent: 1)"),
        ({"slow": 100}, "(analysis.maxP99Milliseconds: 250)"),
    ],
)
async def test_a_bad_version_is_rolled_back(fault: dict[str, int], says: str) -> None:
    world = await trial()
    await world.passes(1)
    await world.passes(30, 100, **fault)
    assert world.weights() == {"v1": 100}
    assert world.status()["traffic"] == "v1=100 (wants 0),v2=0 (wants 100)"
    for kind, holds in (("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")):
        condition = world.condition(kind)
        assert (condition["status"], condition["reason"]) == (holds, "RolledBack")
    assert says in world.status()["message"]
    assert "100 of 200 requests met it (50.0 %)" in world.status()["message"]
    assert world.status()["versions"][1]["message"] == "it was rolled back"
    assert ("Warning", "RolledBack", world.status()["message"]) in world.kube.events
    world.asked.clear()
    world.start()
    await world.settle()
    for _ in range(3):
        await world.passes(600)
    assert world.weights() == {"v1": 100}
    assert world.asked == []
    await world.promote(analysis={**LIMITS, "maxErrorPercent": 20, "maxP99Milliseconds": 1000})
    assert world.weights() == {"v1": 95, "v2": 5}
    assert world.rollout()["met"]["requests"] == 0
    assert "reason" not in world.rollout()


async def test_another_operator_after_every_pass_comes_to_the_same_end() -> None:
    world = await trial()
    shares = []
    for _ in range(30):
        world.start()
        await world.settle()
        await world.passes(1)  # the first look of an operator is where its counting begins
        await world.passes(61, 60)
        shares.append(world.rollout()["share"])
        if world.rollout()["phase"] == "Promoted":
            break
    assert sorted(set(shares)) == [50, 100]
    assert world.status()["stableVersion"] == "v2"
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("dies_at", ["ConfigMap", "ScoringService"])
async def test_an_operator_that_dies_over_a_rollback_forgets_nothing(dies_at: str) -> None:
    world = await trial()
    await world.passes(1)
    error = ApiUnavailableError("the server is gone", 503)
    world.kube.refuse = lambda method, kind, _: error if kind.kind == dies_at and method != "list" else None
    for pod in world.pods.values():
        pod.answers["v2", 5] += 100
    world.later(30)
    assert await world.again() != []
    assert world.weights() == {"v1": 95, "v2": 5}
    world.kube.refuse = lambda *_: None
    if dies_at == "ConfigMap":
        world.start()
        await world.settle()
    else:
        await world.passes(1)
    assert world.weights() == {"v1": 100}
    assert world.rollout()["phase"] == "RolledBack"


async def test_actions_of_the_user() -> None:
    world = await trial()
    await world.promote(action="Pause")
    assert world.condition("Ready")["reason"] == "RolloutPaused"
    await world.passes(1)
    for _ in range(3):
        await world.passes(4000, 100)
    assert world.weights() == {"v1": 95, "v2": 5}
    await world.promote()
    assert world.condition("Ready")["reason"] == "RolloutProgressing"
    await world.promote(action="Abort", version="v2")
    assert world.weights() == {"v1": 100}
    assert world.condition("Stalled")["reason"] == "RolledBack"
    await world.promote(action="Promote", version="v2")
    assert world.weights() == {"v2": 100}
    assert world.status()["stableVersion"] == "v2"
    assert world.condition("Ready")["status"] == "True"


async def test_the_first_step_waits_for_pods() -> None:
    world = await trial()
    assert world.rollout()["share"] == 5
    versions = [version("v1"), version("v2"), version("v3", default=True)]
    world.service(model=None, versions=versions, rollout=PLAN)
    await world.settle()
    assert (world.rollout()["phase"], world.rollout()["to"]) == ("Waiting", "v3")
    assert world.weights() == {"v1": 100}
    await world.ready("iris-v3")
    assert world.weights() == {"v1": 95, "v3": 5}


async def test_without_the_old_version_the_new_one_takes_over() -> None:
    world = await trial()
    world.service(model=None, versions=[version("v2"), version("v3", traffic=10)], rollout=PLAN)
    await world.settle()
    await world.ready("iris-v3")
    assert world.weights() == {"v2": 90, "v3": 10}
    assert world.rollout()["reason"] == "OldVersionGone"
    assert "v1 is no longer in the spec" in world.rollout()["message"]


async def test_without_a_rollout_the_change_is_immediate() -> None:
    world = await trial()
    world.service(model=None, versions=[version("v1"), version("v2", default=True)])
    await world.settle()
    assert world.weights() == {"v2": 100}
    assert world.status()["stableVersion"] == "v2"
    assert "rollout" not in world.status()


async def test_a_spec_that_cannot_be_read_keeps_the_rollout() -> None:
    world = await trial()
    await world.passes(1)
    before = world.rollout()
    world.service(model=None, versions=[version("v1"), version("v2", default=True)], rollout={"steps": [5]})
    await world.settle()
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert (world.rollout(), world.weights()) == (before, {"v1": 95, "v2": 5})


async def test_what_pods_of_the_router_count_is_summed_and_nothing_twice() -> None:
    world = await trial()
    first, second = world.pods.values()
    first.answers["v2", 2] = 7000  # before this operator began
    world.start()
    await world.settle()
    await world.passes(1)
    assert world.rollout()["candidate"]["requests"] == 0
    first.answers["v2", 2] += 3
    second.answers["v2", 2] += 4
    await world.passes(10)
    assert world.rollout()["candidate"]["requests"] == 7
    second.silent = True
    first.answers["v2", 2] += 1
    second.answers["v2", 2] += 10
    await world.passes(10)
    assert world.rollout()["candidate"]["requests"] == 8
    second.silent = False
    await world.passes(10)
    assert world.rollout()["candidate"]["requests"] == 18
    first.answers.clear()
    first.answers["v2", 2] += 5  # it has started anew
    third = world.router("10.0.0.3")
    third.answers["v2", 2] += 6
    await world.passes(10)
    assert world.rollout()["candidate"]["requests"] == 29
    world.kube.remove(POD, "team", "10.0.0.3")
    await world.passes(10)
    assert world.rollout()["candidate"]["requests"] == 29


async def test_routers_that_do_not_answer_are_told_of() -> None:
    world = await trial()
    for pod in world.pods.values():
        pod.silent = True
    await world.passes(1)
    await world.passes(10)
    assert "no router tells its metrics (10.0.0.1: connection refused; 10.0.0.2: " in world.status()["message"]
    for _ in range(60):
        await world.passes(61)
    assert world.weights() == {"v1": 100}
    assert "it could not be judged within 3600 s, because no router tells its metrics" in world.status()["message"]


async def test_routers_are_not_asked_more_often_than_needed() -> None:
    world = await trial()
    await world.passes(1)
    world.asked.clear()
    for _ in range(5):
        await world.passes(1)
    assert world.asked == []
    await world.passes(5)
    assert len(world.asked) == 2
