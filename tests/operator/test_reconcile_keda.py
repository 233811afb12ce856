"""Whole passes over a service that KEDA scales.

| situation                                        | what is expected                                                |
|--------------------------------------------------|-----------------------------------------------------------------|
| KEDA is there                                    | a ScaledObject at the Deployment; no number of pods is applied  |
| the cluster has no KEDA                          | Stalled and what to do; pods all the same; taken up when it comes |
| KEDA went                                        | the number of pods stays                                        |
| KEDA went, which nobody has told yet             | the next try finds out                                          |
| keda is taken out                                | the ScaledObject goes, the number of pods stays                 |
| from metric: CPU to keda and back                | what scaled before goes first: KEDA refuses two                 |
| KEDA cannot use a trigger                        | the version says why; Ready stays                               |
| KEDA takes the last pod                          | asleep, by KEDA's will; the operator leaves it at that          |
| KEDA's own HorizontalPodAutoscaler has our labels | it is left alone                                               |
| the operator may not read ScaledObjects          | it says so, and the pods serve                                  |
"""

from typing import Any

from scoring_operator.autoscaling.decision import PodLoad
from scoring_operator.errors import Reason
from scoring_operator.keda import complaint
from scoring_operator.kinds import AUTOSCALER, DEPLOYMENT, SCALED_OBJECT, Kind
from scoring_operator.kube import ForbiddenError, NotFoundError
from scoring_operator.store import ServiceKey
from tests.operator.fake_kube import World

NAME = "iris-default"
KEDA = {"triggers": [{"type": "cron", "metadata": {"start": "0 7 * * *", "desiredReplicas": "3"}}]}


async def scaled(**bounds: Any) -> World:
    world = World()
    world.service(autoscaling={"maxReplicas": 4, "keda": KEDA, **bounds})
    assert await world.settle() == []
    world.roll_out()
    assert await world.settle() == []
    return world


def scale(world: World, number: int) -> None:
    """What KEDA does through the Deployment's /scale."""

    def write(deployment: dict[str, Any]) -> None:
        deployment["spec"]["replicas"] = number
        for entry in deployment["metadata"]["managedFields"]:
            entry.get("fieldsV1", {}).get("f:spec", {}).pop("f:replicas", None)
        fields = {"f:spec": {"f:replicas": {}}}
        entry = {"manager": "keda", "operation": "Update", "subresource": "scale", "fieldsV1": fields}
        deployment["metadata"]["managedFields"].append(entry)

    world.kube.change(DEPLOYMENT, NAME, write)
    world.roll_out()


def said(world: World, condition: dict[str, str]) -> None:
    """What KEDA writes about the ScaledObject."""
    world.kube.change(SCALED_OBJECT, NAME, lambda found: found.update(status={"conditions": [condition]}))


def replicas(world: World) -> int:
    return int(world.get(DEPLOYMENT, NAME)["spec"]["replicas"])


def scalers(world: World) -> set[Kind]:
    return {kind for kind, _, _ in world.kube.objects if kind in (AUTOSCALER, SCALED_OBJECT)}


async def test_keda_is_told_what_to_scale_and_owns_the_number() -> None:
    world = await scaled(minReplicas=2)
    spec = world.get(SCALED_OBJECT, NAME)["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["triggers"]) == (2, 4, KEDA["triggers"])
    assert replicas(world) == 2
    assert world.condition("Ready")["status"] == "True"
    scale(world, 4)
    await world.settle()
    world.service(autoscaling={"minReplicas": 2, "maxReplicas": 4, "keda": KEDA}, requestSettings={"timeoutSeconds": 9})
    await world.settle()
    assert replicas(world) == 4
    world.kube.calls.clear()
    await world.again()
    assert world.kube.writes == []


async def test_a_cluster_without_keda_says_so_and_serves_until_keda_comes() -> None:
    world = World()
    world.kube.served.discard(SCALED_OBJECT)
    world.service(autoscaling={"minReplicas": 2, "keda": KEDA})
    await world.settle()
    world.roll_out()
    await world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", Reason.KEDA_NOT_FOUND)
    assert "install KEDA (https://keda.sh)" in stalled["message"]
    assert (world.condition("Ready")["status"], world.status()["readyReplicas"]) == ("False", 2)
    assert scalers(world) == set()

    world.kube.served.add(SCALED_OBJECT)
    assert await world.loop._reconciler.reconcile(ServiceKey("team", "iris")) == 60
    world.later(60)
    await world.again()
    assert scalers(world) == {SCALED_OBJECT}
    assert world.condition("Ready")["status"] == "True"


async def test_when_keda_goes_the_number_stays() -> None:
    world = await scaled()
    scale(world, 3)
    world.kube.served.discard(SCALED_OBJECT)
    world.kube.remove(SCALED_OBJECT, "team", NAME)
    await world.loop.resync()
    await world.settle()
    world.later(60)
    await world.again()
    assert world.condition("Stalled")["reason"] == Reason.KEDA_NOT_FOUND
    assert replicas(world) == 3


async def test_that_keda_went_shows_when_it_is_needed() -> None:
    world = await scaled()
    world.kube.served.discard(SCALED_OBJECT)

    def gone(method: str, kind: Kind, _: str) -> Exception | None:
        return NotFoundError("not found", 404) if kind is SCALED_OBJECT and method == "apply" else None

    world.kube.refuse = gone
    world.service(autoscaling={"maxReplicas": 9, "keda": KEDA})
    assert [type(error) for error in await world.settle()] == [NotFoundError]
    await world.again()
    assert world.condition("Stalled")["reason"] == Reason.KEDA_NOT_FOUND


async def test_without_the_field_the_scaled_object_goes_and_the_number_stays() -> None:
    world = await scaled()
    scale(world, 3)
    world.service()
    await world.settle()
    assert scalers(world) == set()
    assert replicas(world) == 3
    assert world.status()["versions"][0]["keptReplicas"] == 3


async def test_one_scaler_goes_before_the_other_comes() -> None:
    world = await scaled()
    order: list[tuple[str, str]] = []
    for autoscaling in ({"metric": "CPU"}, {"keda": KEDA}):
        world.kube.calls.clear()
        world.service(autoscaling=autoscaling)
        await world.settle()
        order += [
            (method, kind) for method, kind, _ in world.kube.writes if kind in (AUTOSCALER.kind, SCALED_OBJECT.kind)
        ]
    assert order == [
        ("delete", "ScaledObject"),
        ("apply", "HorizontalPodAutoscaler"),
        ("delete", "HorizontalPodAutoscaler"),
        ("apply", "ScaledObject"),
    ]
    assert scalers(world) == {SCALED_OBJECT}


async def test_what_keda_cannot_use_is_told() -> None:
    world = await scaled()
    said = {
        "type": "Ready",
        "status": "False",
        "reason": "ScaledObjectCheckFailed",
        "message": "no scaler found for cron.",
    }
    world.kube.change(SCALED_OBJECT, NAME, lambda found: found.update(status={"conditions": [said]}))
    await world.settle()
    assert world.status()["versions"][0]["scalingMessage"] == "KEDA does not scale: no scaler found for cron"
    assert world.condition("Ready")["status"] == "True"
    world.kube.change(
        SCALED_OBJECT, NAME, lambda found: found.update(status={"conditions": [{**said, "status": "True"}]})
    )
    await world.settle()
    assert "scalingMessage" not in world.status()["versions"][0]


def test_keda_has_not_looked_yet() -> None:
    assert complaint({}) == ""
    assert complaint({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}) == ""
    unworded = {"type": "Ready", "status": "False", "reason": "ScaledObjectCheckFailed"}
    assert complaint({"status": {"conditions": [unworded]}}) == "KEDA does not scale: ScaledObjectCheckFailed"


async def test_keda_may_take_the_last_pod() -> None:
    world = await scaled(minReplicas=0)
    assert replicas(world) == 1
    world.roll_out("iris--router")
    await world.settle()
    scale(world, 0)
    await world.settle()
    world.loop.autoscaler.begin(Nobody())
    await world.loop.autoscaler.finished()
    await world.settle()
    assert replicas(world) == 0
    assert world.condition("Ready")["status"] == "True"
    assert world.status()["message"] == "asleep, because no trigger of KEDA is active: requests wait until one is"


class Nobody:
    """Pods that must not be asked."""

    async def ask(self, address: str) -> PodLoad | None:
        raise AssertionError(address)

    async def calls(self, address: str) -> dict[str, int] | None:
        raise AssertionError(address)


async def test_kedas_own_autoscaler_is_left_alone() -> None:
    """KEDA copies the ScaledObject's labels to it, the operator's among them."""
    world = await scaled()
    scaled_object = world.get(SCALED_OBJECT, NAME)["metadata"]
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": NAME, "uid": scaled_object["uid"]}
    world.kube.put(
        AUTOSCALER,
        {
            "metadata": {
                "name": f"keda-hpa-{NAME}",
                "namespace": "team",
                "labels": scaled_object["labels"],
                "ownerReferences": [{**owner, "controller": True}],
            }
        },
    )
    world.service(autoscaling={"maxReplicas": 5, "keda": KEDA})
    await world.settle()
    assert scalers(world) == {AUTOSCALER, SCALED_OBJECT}


async def test_a_missing_permission_is_told() -> None:
    def refuse(method: str, kind: Kind, _: str) -> Exception | None:
        asked = kind is SCALED_OBJECT and method != "serves"
        return ForbiddenError("cannot get scaledobjects.keda.sh", 403) if asked else None

    world = World()
    world.kube.refuse = refuse
    world.service()
    await world.settle()
    world.roll_out()
    world.service(autoscaling={"keda": KEDA})
    await world.settle()
    stalled = world.condition("Stalled")
    assert (stalled["reason"], replicas(world)) == (Reason.FORBIDDEN, 1)
    assert stalled["message"] == "cannot get scaledobjects.keda.sh; the previous version keeps serving"
