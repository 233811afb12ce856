"""The autoscaler over a cluster in memory: what it reads, what it writes, and who owns the number of pods.

| situation                                        | what is expected                                                |
|--------------------------------------------------|-----------------------------------------------------------------|
| a new service                                    | begins with minReplicas; the operator applies no number         |
| load comes and goes                              | `/scale` of the Deployment, and nothing else; Events; metrics   |
| a hundred edits of other fields                  | the number stays                                                |
| autoscaling is turned on                         | the number stays until the autoscaler moves it                  |
| autoscaling is turned off                        | the number stays until the spec says one, also over restarts    |
| pods are silent, hang, tell nonsense             | nothing goes; status says so; other versions go on              |
| the operator dies at any moment of a scale-up    | the same end                                                    |
| metric: CPU                                      | a HorizontalPodAutoscaler; the operator does not poll           |
| minReplicas: 0, nobody calls, somebody calls     | a router; no pods after the idle time; a pod at the next call   |
| the router cannot be asked                       | the last pod stays                                              |
"""

from collections.abc import Mapping
from typing import Any

import pytest

from scoring_operator.autoscaling.decision import PodLoad
from scoring_operator.kinds import AUTOSCALER, DEPLOYMENT, ENDPOINT_SLICE, SERVICE
from scoring_operator.kube import ApiUnavailableError
from tests.operator.fake_kube import World

NAME = "iris-default"
BOUNDS = {"minReplicas": 1, "maxReplicas": 10}
SLEEPY = {"minReplicas": 0, "idleSeconds": 30}
ROUTER_ADDRESS = "10.0.9.9"


class Pods:
    """The pods of a service: share a load evenly; those in `silent` do not answer."""

    def __init__(self, world: World, slots: int = 8) -> None:
        self.world, self.slots = world, slots
        self.load = 0.0
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.called: int | None = 0
        """What the router counts; None: it does not answer."""

    def addresses(self, name: str = NAME) -> list[str]:
        count = self.world.get(DEPLOYMENT, name)["spec"]["replicas"]
        return [f"10.0.0.{number}" for number in range(1, count + 1)]

    def ready(self, name: str = NAME, count: int | None = None) -> None:
        """All pods asked for (or `count`) are ready, and their addresses known."""
        addresses = self.addresses(name)[:count]
        service, _, version = name.partition("-")
        self._slice(f"{name}-x", {"scoring.dev/service": service, "scoring.dev/version": version}, addresses)
        self.world.roll_out(name, ready=len(addresses))

    def router(self) -> None:
        """The router is ready, and the Service in front of it selects it."""
        self.world.roll_out("iris--router")
        self._slice("iris-y", {"scoring.dev/service": "iris"}, [ROUTER_ADDRESS])

    def _slice(self, name: str, labels: dict[str, str], addresses: list[str]) -> None:
        self.world.kube.put(
            ENDPOINT_SLICE,
            {
                "metadata": {
                    "name": name,
                    "namespace": "team",
                    "labels": {
                        "app.kubernetes.io/managed-by": "scoring-operator",
                        "scoring.dev/autoscaled": "true",
                        **labels,
                    },
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [found], "conditions": {"ready": True}} for found in addresses],
            },
        )

    async def calls(self, address: str) -> dict[str, int] | None:
        assert address == ROUTER_ADDRESS
        return None if self.called is None else {"default": self.called}

    async def ask(self, address: str) -> PodLoad | None:
        self.asked.append(address)
        if address in self.silent:
            return None
        answering = [other for other in self.addresses() if other not in self.silent]
        each, more = divmod(round(self.load), max(len(answering), 1))
        share = each + (answering.index(address) < more if address in answering else 0)
        return PodLoad(min(share, self.slots), max(share - self.slots, 0), self.slots)


async def seconds(world: World, pods: Pods, number: int) -> list[int]:
    """Let time pass second by second; the pods asked for after each."""
    found = []
    for _ in range(number):
        world.loop.autoscaler.begin(pods)
        await world.loop.autoscaler.finished()
        assert await world.settle() == []
        world.later(1)
        found.append(world.get(DEPLOYMENT, NAME)["spec"]["replicas"])
    return found


async def autoscaled(bounds: Mapping[str, Any] = BOUNDS, **spec: Any) -> tuple[World, Pods]:
    world = World()
    world.service(autoscaling=dict(bounds), **spec)
    assert await world.settle() == []
    pods = Pods(world)
    pods.ready()
    assert await world.settle() == []
    return world, pods


def replicas(world: World) -> int:
    return int(world.get(DEPLOYMENT, NAME)["spec"]["replicas"])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoring_operator.autoscaling.loop.AGAIN_SECONDS", 0.0)


async def test_a_new_service_begins_with_the_smallest_number() -> None:
    world, pods = await autoscaled({"minReplicas": 3, "maxReplicas": 5})
    assert replicas(world) == 3
    assert set(await seconds(world, pods, 80)) == {3}
    assert world.condition("Ready")["status"] == "True"
    (service,) = (found for (kind, _, _), found in world.kube.objects.items() if kind is SERVICE and _pods(found))
    assert service["spec"]["clusterIP"] == "None"


def _pods(found: dict[str, Any]) -> bool:
    return "scoring.dev/autoscaled" in found["metadata"]["labels"]


async def test_load_is_followed_up_at_once_and_down_after_a_minute() -> None:
    world, pods = await autoscaled()
    await seconds(world, pods, 5)
    world.kube.calls.clear()
    pods.load = 22
    assert await seconds(world, pods, 1) == [4]
    pods.ready()
    assert set(await seconds(world, pods, 100)) == {4}
    pods.load = 0
    found = await seconds(world, pods, 80)
    assert found[58] == 4
    assert found[-1] == 1
    assert {call for call in world.kube.writes if call[0] != "merge_status"} == {("scale", "Deployment", NAME)}
    events = [(reason, note) for _, reason, note in world.kube.events if reason.startswith("Scaled")]
    assert events[0] == (
        "ScaledUp",
        "scaled version default from 1 to 4: 22 requests for 8 slots (275 %), the target is 70 %",
    )
    assert events[-1][0] == "ScaledDown"
    exposition = world.loop._reconciler.metrics.exposition().decode()
    labels = 'namespace="team",service="iris",version="default"'
    assert f'scoring_operator_scalings_total{{direction="up",{labels}}} 1.0' in exposition
    assert f"scoring_operator_autoscaler_utilization_ratio{{{labels}}} 0.0" in exposition


async def test_the_load_is_shown_and_seldom_written() -> None:
    world, pods = await autoscaled()
    pods.load = 4
    await seconds(world, pods, 3)
    assert world.status()["load"] == "50%/70%"
    assert world.status()["versions"][0]["utilization"] == 50
    assert world.status()["versions"][0]["autoscaled"] is True
    world.kube.calls.clear()
    for second in range(60):
        pods.load = 4 + second % 2  # 50 % and 62 %: shown are tens
        await seconds(world, pods, 1)
    assert world.kube.writes == []
    pods.load = 4
    world.start()
    await seconds(world, pods, 10)
    assert world.kube.writes == []
    assert world.status()["load"] == "50%/70%"


async def test_edits_of_other_fields_never_change_the_number() -> None:
    world, pods = await autoscaled()
    pods.load = 22
    await seconds(world, pods, 2)
    pods.ready()
    for edit in range(100):
        world.service(autoscaling=BOUNDS, requestSettings={"timeoutSeconds": edit + 1})
        assert await world.settle() == []
        assert replicas(world) == 4
    assert "replicas" not in _applied(world)


def _applied(world: World) -> dict[str, Any]:
    entries = world.get(DEPLOYMENT, NAME)["metadata"]["managedFields"]
    applied: dict[str, Any] = next(entry for entry in entries if entry["manager"] == "scoring-operator")["applied"]
    return applied["spec"]


async def test_turning_autoscaling_on_keeps_the_number() -> None:
    world = World()
    world.service(replicas=3)
    await world.settle()
    assert replicas(world) == 3
    world.service(autoscaling=BOUNDS)
    assert await world.settle() == []
    assert replicas(world) == 3
    assert "replicas" not in _applied(world)
    world.service(autoscaling={"minReplicas": 5})
    assert await world.settle() == []
    pods = Pods(world)
    assert await seconds(world, pods, 1) == [5]


async def test_turning_autoscaling_off_keeps_the_number_until_the_spec_says_one() -> None:
    world, pods = await autoscaled()
    pods.load = 22
    await seconds(world, pods, 2)
    world.service()
    assert await world.settle() == []
    assert replicas(world) == 4
    assert world.status()["versions"][0]["keptReplicas"] == 4
    assert "autoscaled" not in world.status()["versions"][0]
    world.start()
    world.service(requestSettings={"timeoutSeconds": 7})
    assert await world.settle() == []
    assert replicas(world) == 4
    world.service(replicas=2)
    assert await world.settle() == []
    assert replicas(world) == 2
    assert "keptReplicas" not in world.status()["versions"][0]
    world.service()
    assert await world.settle() == []
    assert replicas(world) == 1


async def test_the_number_is_kept_also_if_the_operator_dies_before_it_wrote_so() -> None:
    world, pods = await autoscaled()
    pods.load = 22
    await seconds(world, pods, 2)
    world.kube.refuse = lambda method, *_: ApiUnavailableError("down") if method == "merge_status" else None
    world.service()
    assert any(isinstance(error, ApiUnavailableError) for error in await world.settle())
    world.kube.refuse = lambda *_: None
    world.start()
    assert await world.settle() == []
    assert replicas(world) == 4


async def test_silent_pods_keep_the_number_and_are_told_of() -> None:
    world, pods = await autoscaled({"minReplicas": 1, "maxReplicas": 10})
    pods.load = 22
    await seconds(world, pods, 2)
    pods.ready()
    pods.silent = set(pods.addresses())
    assert set(await seconds(world, pods, 100)) == {4}
    message = world.status()["versions"][0]["scalingMessage"]
    assert message.startswith("the load is not known, because none of its 4 pods answers the operator on port 8082")
    pods.silent.clear()
    await seconds(world, pods, 20)
    assert "scalingMessage" not in world.status()["versions"][0]


async def test_an_api_server_that_refuses_is_asked_again() -> None:
    world, pods = await autoscaled()
    pods.load = 22
    world.kube.refuse = lambda method, *_: ApiUnavailableError("down") if method == "scale" else None
    assert await seconds(world, pods, 3) == [1, 1, 1]
    world.kube.refuse = lambda *_: None
    assert (await seconds(world, pods, 1))[-1] == 4


async def test_the_end_is_the_same_wherever_the_operator_dies() -> None:
    for death in range(6):
        world, pods = await autoscaled()
        pods.load = 22
        for second in range(6):
            if second == death:
                world.start()
            await seconds(world, pods, 1)
            pods.ready()
        assert replicas(world) == 4
        assert set(await seconds(world, pods, 70)) == {4}


async def test_the_number_is_not_asked_for_twice_while_the_watch_is_late() -> None:
    world, pods = await autoscaled()
    pods.load = 22
    world.kube.listeners.clear()
    world.kube.calls.clear()
    await seconds(world, pods, 5)
    assert [call for call in world.kube.writes if call[0] == "scale"] == [("scale", "Deployment", NAME)]


async def test_the_cpu_is_kubernetes_business() -> None:
    world, pods = await autoscaled({**BOUNDS, "metric": "CPU"})
    assert world.get(AUTOSCALER, NAME)["spec"]["scaleTargetRef"]["name"] == NAME
    await seconds(world, pods, 3)
    assert pods.asked == []
    world.kube.change(DEPLOYMENT, NAME, lambda found: found["spec"].update(replicas=7))
    assert await world.settle() == []
    assert replicas(world) == 7
    world.service(autoscaling=BOUNDS)
    assert await world.settle() == []
    assert (AUTOSCALER, "team", NAME) not in world.kube.objects
    assert replicas(world) == 7


async def sleepy() -> tuple[World, Pods]:
    world, pods = await autoscaled(SLEEPY)
    pods.router()
    assert await world.settle() == []
    pods.called = 5
    return world, pods


async def test_the_last_pod_goes_when_nobody_calls_and_comes_when_somebody_does() -> None:
    world, pods = await sleepy()
    assert replicas(world) == 1
    assert world.get(SERVICE, "iris")["spec"]["selector"]["scoring.dev/component"] == "router"
    found = await seconds(world, pods, 40)
    assert found[28] == 1
    assert found[-1] == 0
    pods.ready()
    assert await world.settle() == []
    assert world.get(SERVICE, "iris")["spec"]["selector"]["scoring.dev/component"] == "router"
    assert world.status()["versions"][0]["state"] == "ScaledToZero"
    assert world.status()["message"] == "asleep, because nobody calls: the next request starts a pod and waits for it"
    assert world.status()["traffic"] == "default=100"
    assert set(await seconds(world, pods, 100)) == {0}
    world.start()
    assert set(await seconds(world, pods, 5)) == {0}

    pods.called = 6
    assert await seconds(world, pods, 1) == [1]
    notes = [note for _, reason, note in world.kube.events if reason.startswith("Scaled")]
    assert notes == [
        "scaled version default from 1 to 0: nobody has called for 30 s",
        "scaled version default from 0 to 1: a request waits for a pod",
    ]
    pods.ready(count=0)
    for _ in range(20):  # while the pod starts, the request goes on trying
        pods.called += 4
        assert await seconds(world, pods, 1) == [1]
    pods.ready()
    pods.called += 1
    assert set(await seconds(world, pods, 25)) == {1}


async def test_the_last_pod_stays_while_the_router_cannot_be_asked() -> None:
    world, pods = await sleepy()
    pods.called = None
    assert set(await seconds(world, pods, 60)) == {1}
    pods.called = 5
    pods.load = 1
    assert set(await seconds(world, pods, 60)) == {1}
    pods.load = 0
    assert (await seconds(world, pods, 40))[-1] == 0


async def test_a_service_that_slept_is_awake_without_an_autoscaler() -> None:
    world, pods = await sleepy()
    assert (await seconds(world, pods, 40))[-1] == 0
    world.service()
    assert await world.settle() == []
    assert replicas(world) == 1
