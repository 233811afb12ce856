"""Whole passes over a service whose versions come, change and go.

| situation                                   | what is expected                                                    |
|---------------------------------------------|---------------------------------------------------------------------|
| a second version                            | the Service selects the router once it is ready, not before         |
| a version without ready pods                | its share goes to the default; status says so; the others untouched |
| a share changes, a version is promoted      | one ConfigMap is written, pods of the router are told, no pod moves |
| a version leaves                            | no share at once, its pods some seconds later                       |
| one version again                           | the Service moves first, router and pods go later                   |
| the only version is renamed                 | the old one answers until the new one is ready                      |
| a version leaves while the spec has an error | no pass is asked for until the spec is mended; then it goes         |
| settled; the operator restarts              | not one write                                                       |
| telling the router is forbidden             | a warning, and everything else is done                              |
"""

import json
from typing import Any

import pytest

from scoring_operator.announcements import CONFIGURATION, REFRESH_SECONDS
from scoring_operator.departures import LINGER_SECONDS
from scoring_operator.kinds import CONFIG_MAP, DEPLOYMENT, POD, SERVICE
from scoring_operator.kube import ForbiddenError
from scoring_operator.naming import pods_service_name, router_name, router_selector, selector
from scoring_operator.store import ServiceKey
from tests.operator.fake_kube import World

ROUTER = router_name("iris")


def version(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "model": {"uri": f"s3://models/iris/{name}/", "framework": "sklearn"}, **fields}


class Rollout(World):
    """A cluster in memory with a service of named versions."""

    async def versions(self, *versions: dict[str, Any]) -> list[Exception]:
        """Write these versions into the service, and do passes until none is asked for."""
        self.service(model=None, versions=list(versions))
        return await self.settle()

    async def ready(self, *names: str, **counts: int) -> None:
        """Let the pods of these Deployments become ready."""
        for name in names:
            self.roll_out(name, **counts)
        await self.settle()

    async def wait(self, seconds: float = LINGER_SECONDS) -> None:
        self.later(seconds)
        await self.again()

    def selects(self) -> dict[str, str]:
        found: dict[str, str] = self.get(SERVICE, "iris")["spec"]["selector"]
        return found

    def weights(self) -> dict[str, int]:
        """What the router is told."""
        routes = json.loads(self.get(CONFIG_MAP, ROUTER)["data"]["rds-http.json"])["resources"][0]
        clusters = routes["virtual_hosts"][0]["routes"][-1]["route"]["weighted_clusters"]["clusters"]
        return {cluster["name"]: cluster["weight"] for cluster in clusters}

    def deployments(self) -> set[str]:
        return {name for kind, _, name in self.kube.objects if kind is DEPLOYMENT}

    def router_pod(self, name: str = "router-1") -> None:
        labels = router_selector("iris")
        self.kube.put(POD, {"metadata": {"name": name, "namespace": "team", "labels": labels, "uid": name}})

    def told(self, name: str = "router-1") -> str:
        annotations: dict[str, str] = self.get(POD, name)["metadata"].get("annotations", {})
        return annotations.get(CONFIGURATION, "")


async def split() -> Rollout:
    """Two versions at 90 and 10, all of it ready."""
    world = Rollout()
    await world.versions(version("v1"), version("v2", traffic=10))
    await world.ready("iris-v1", "iris-v2", ROUTER)
    assert world.weights() == {"v1": 90, "v2": 10}
    return world


async def test_a_second_version_is_reached_when_the_router_is_ready() -> None:
    world = Rollout()
    await world.versions(version("v1"))
    await world.ready("iris-v1")
    assert world.condition("Ready")["status"] == "True"
    assert ROUTER not in world.deployments()

    await world.versions(version("v1"), version("v2", traffic=10))
    assert world.selects() == selector("iris", "v1")
    await world.ready("iris-v2")
    assert world.selects() == selector("iris", "v1")
    assert world.status()["traffic"] == "v1=100 (wants 90),v2=0 (wants 10)"
    assert world.condition("Ready")["message"] == "the router: 0 of 1 replica ready"
    await world.ready(ROUTER)
    assert world.selects() == router_selector("iris")
    assert world.status()["traffic"] == "v1=90,v2=10"
    assert world.condition("Ready")["status"] == "True"
    notes = [note for _, reason, note in world.kube.events if reason == "TrafficChanged"]
    assert notes[-1] == "v1=90,v2=10; before: v1=100 (wants 90),v2=0 (wants 10)"


async def test_a_version_that_never_becomes_ready_leaves_the_others_alone() -> None:
    world = await split()
    before = world.get(DEPLOYMENT, "iris-v1")["spec"]
    await world.versions(version("v1"), version("v2", traffic=10), version("v3", traffic=40))
    assert world.weights() == {"v1": 90, "v2": 10}
    await world.ready("iris-v3", ready=0)
    assert world.weights() == {"v1": 90, "v2": 10}
    third = world.status()["versions"][2]
    assert (third["traffic"], third["trafficInForce"]) == (40, 0)
    assert third["message"] == "its share of the traffic waits for ready pods"
    assert world.status()["traffic"] == "v1=90 (wants 50),v2=10,v3=0 (wants 40)"
    assert world.get(DEPLOYMENT, "iris-v1")["spec"] == before

    await world.ready("iris-v3")
    assert world.weights() == {"v1": 50, "v2": 10, "v3": 40}
    await world.ready("iris-v2", ready=0)
    assert world.weights() == {"v1": 60, "v3": 40}


async def test_a_change_of_shares_writes_one_file_and_moves_no_pod() -> None:
    world = await split()
    world.router_pod()
    told = world.told()
    world.kube.calls.clear()
    await world.versions(version("v1"), version("v2", traffic=50))
    assert [call for call in world.kube.writes if call[0] != "merge_status"] == [
        ("apply", "ConfigMap", ROUTER),
        ("annotate", "Pod", "router-1"),
    ]
    assert world.weights() == {"v1": 50, "v2": 50}
    assert world.told() not in ("", told)

    world.kube.calls.clear()
    await world.versions(version("v1"), version("v2", default=True))
    assert {call[1] for call in world.kube.writes} == {"ConfigMap", "Pod", "ScoringService"}
    assert world.weights() == {"v2": 100}


async def test_a_version_leaves_after_its_traffic() -> None:
    world = await split()
    await world.versions(version("v1"), version("v2", traffic=10), version("v3"))
    await world.ready("iris-v3")
    await world.versions(version("v1"), version("v3"))
    assert world.weights() == {"v1": 100}
    assert "iris-v2" in world.deployments()
    assert [found["name"] for found in world.status()["versions"]] == ["v1", "v3"]
    await world.wait(LINGER_SECONDS - 1)
    assert "iris-v2" in world.deployments()
    assert (SERVICE, "team", pods_service_name("iris", "v2")) in world.kube.objects
    await world.wait(1)
    assert world.deployments() == {"iris-v1", "iris-v3", ROUTER}
    assert (SERVICE, "team", pods_service_name("iris", "v2")) not in world.kube.objects


async def test_a_version_that_comes_back_stays() -> None:
    world = await split()
    await world.versions(version("v1"), version("v3"))
    await world.wait(LINGER_SECONDS - 1)
    await world.versions(version("v1"), version("v2", traffic=20), version("v3"))
    await world.wait(LINGER_SECONDS)
    assert world.weights() == {"v1": 80, "v2": 20}


async def test_a_version_that_leaves_while_the_spec_has_an_error_asks_for_no_pass() -> None:
    world = await split()
    await world.versions(version("v1"), version("v3"))
    await world.ready("iris-v3")
    unknown = {"uri": "s3://models/iris/3/", "framework": "tensorflow"}
    assert await world.versions(version("v1"), version("v3", model=unknown)) == []
    assert world.condition("Stalled")["reason"] == "ImageUnknown"
    world.later(2 * LINGER_SECONDS)
    key = ServiceKey("team", "iris")
    assert await world.loop._reconciler.reconcile(key) is None
    assert "iris-v2" in world.deployments()

    await world.versions(version("v1"), version("v3"))
    assert "iris-v2" not in world.deployments()


async def test_one_version_again_needs_no_router() -> None:
    world = await split()
    await world.versions(version("v1"))
    assert world.selects() == selector("iris", "v1")
    assert world.weights() == {"v1": 100}
    assert world.deployments() == {"iris-v1", "iris-v2", ROUTER}
    assert world.condition("Ready")["status"] == "True"
    await world.wait()
    assert world.deployments() == {"iris-v1"}
    assert {name for kind, _, name in world.kube.objects if kind in (SERVICE, CONFIG_MAP)} == {"iris"}


async def test_the_only_version_is_renamed_without_a_gap() -> None:
    world = Rollout()
    await world.versions(version("v1"))
    await world.ready("iris-v1")
    await world.versions(version("v2"))
    await world.wait(10 * LINGER_SECONDS)
    assert world.selects() == selector("iris", "v1")
    assert world.status()["traffic"] == "v2=0 (wants 100),v1=100 (wants 0)"
    await world.ready("iris-v2")
    assert world.selects() == selector("iris", "v2")
    assert world.deployments() == {"iris-v1", "iris-v2"}
    await world.wait()
    assert world.deployments() == {"iris-v2"}


async def test_all_versions_change_without_a_gap() -> None:
    world = await split()
    await world.versions(version("v3"), version("v4", traffic=50))
    assert world.weights() == {"v1": 100}
    await world.ready("iris-v4")
    assert world.weights() == {"v1": 50, "v4": 50}
    await world.ready("iris-v3")
    assert world.weights() == {"v3": 50, "v4": 50}
    await world.wait()
    assert world.deployments() == {"iris-v3", "iris-v4", ROUTER}


async def test_a_settled_split_is_not_written_to() -> None:
    world = await split()
    world.router_pod()
    await world.versions(version("v1"), version("v2", traffic=20))
    world.kube.calls.clear()
    await world.again()
    assert world.kube.calls == []
    world.start()
    await world.settle()
    assert world.kube.writes == []


async def test_without_the_right_to_tell_the_router_all_else_is_done(caplog: pytest.LogCaptureFixture) -> None:
    world = await split()
    world.router_pod()
    world.kube.refuse = lambda method, *_: ForbiddenError("pods/status", 403) if method == "annotate" else None
    assert await world.versions(version("v1"), version("v2", traffic=20)) == []
    assert world.weights() == {"v1": 80, "v2": 20}
    assert world.condition("Ready")["status"] == "True"
    assert "a minute late" in caplog.text
    await world.versions(version("v1"), version("v3"))
    await world.wait()
    assert "iris-v2" in world.deployments(), "the router may not have heard yet that it gets nothing"
    await world.wait(REFRESH_SECONDS)
    assert "iris-v2" not in world.deployments()


async def test_without_an_image_for_the_router_nothing_moves() -> None:
    world = Rollout(router_image="")
    await world.versions(version("v1"))
    await world.ready("iris-v1")
    world.kube.calls.clear()
    await world.versions(version("v1"), version("v2", traffic=10))
    assert world.kube.writes == [("merge_status", "ScoringService", "iris")]
    assert world.condition("Stalled")["reason"] == "ImageUnknown"
    assert "SCORING_OPERATOR_ROUTER_IMAGE" in world.status()["message"]


async def test_a_router_that_cannot_start_is_told_of() -> None:
    world = Rollout()
    await world.versions(version("v1"), version("v2", traffic=10))
    await world.ready("iris-v1", "iris-v2")

    def refused(deployment: dict[str, Any]) -> None:
        deployment["status"] = {
            "observedGeneration": 1,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: team"}],
        }

    world.kube.change(DEPLOYMENT, ROUTER, refused)
    await world.settle()
    assert world.condition("Stalled")["reason"] == "PodRejected"
    assert world.status()["message"] == "the router: exceeded quota: team"
    assert world.selects() == selector("iris", "v1")
