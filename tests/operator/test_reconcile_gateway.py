"""Whole passes over a service that a Gateway publishes.

| situation                                   | what is expected                                                    |
|---------------------------------------------|---------------------------------------------------------------------|
| several versions                            | an HTTPRoute with the shares; no Ingress, no router                 |
| the Gateway has not answered, refuses       | IngressReady says which, in its words; Ready when it accepts        |
| the cluster has no Gateway API              | Stalled and what to do; pods all the same; taken up when it comes   |
| from ingress to gateway                     | the Ingress goes                                                    |
"""

from typing import Any

import pytest

from scoring_operator.ingress import route_facts
from scoring_operator.kinds import DEPLOYMENT, HTTP_ROUTE, INGRESS
from scoring_operator.naming import selector, version_service_name
from scoring_operator.spec import Gateway, GatewayParent
from tests.operator.fake_kube import World

GATEWAY = {"parentRefs": [{"name": "public", "namespace": "infra"}], "hostnames": ["iris.example.com"]}
MODEL = {"uri": "s3://models/iris/3/", "framework": "sklearn"}


def parent(name: str = "public", **conditions: str) -> dict[str, Any]:
    """What a Gateway says about a route; `Accepted="True"`."""
    said = [{"type": kind, "status": status, "message": f"about {kind}."} for kind, status in conditions.items()]
    return {"parentRef": {"name": name}, "conditions": said}


async def routed() -> World:
    world = World()
    world.service(
        model=None,
        gateway=GATEWAY,
        versions=[{"name": "v1", "model": MODEL}, {"name": "v2", "model": MODEL, "traffic": 10}],
    )
    await world.settle()
    for name in ("iris-v1", "iris-v2"):
        world.roll_out(name)
    await world.settle()
    return world


def answer(world: World, *parents: dict[str, Any]) -> None:
    world.kube.change(HTTP_ROUTE, "iris", lambda route: route.update(status={"parents": list(parents)}))


def weights(world: World) -> dict[str, int]:
    rules = world.get(HTTP_ROUTE, "iris")["spec"]["rules"]
    return {backend["name"]: backend["weight"] for backend in rules[-1]["backendRefs"]}


async def test_a_gateway_splits_without_a_router() -> None:
    world = await routed()
    assert weights(world) == {version_service_name("iris", "v1"): 90, version_service_name("iris", "v2"): 10}
    assert {name for kind, _, name in world.kube.objects if kind is DEPLOYMENT} == {"iris-v1", "iris-v2"}
    assert (INGRESS, "team", "iris") not in world.kube.objects
    assert world.condition("IngressReady")["reason"] == "GatewayPending"
    assert world.condition("Stalled")["status"] == "False"

    answer(world, parent(Accepted="True", ResolvedRefs="True"))
    await world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.status()["url"] == "https://iris.example.com"
    assert world.status()["traffic"] == "v1=90,v2=10"
    world.kube.calls.clear()
    await world.again()
    assert world.kube.calls == []


async def test_a_version_without_ready_pods_gets_nothing_from_the_gateway() -> None:
    world = await routed()
    world.roll_out("iris-v2", ready=0)
    await world.settle()
    assert weights(world) == {version_service_name("iris", "v1"): 100}
    assert world.status()["traffic"] == "v1=100 (wants 90),v2=0 (wants 10)"


async def test_a_refusal_is_told_in_the_gateways_words() -> None:
    world = await routed()
    answer(world, parent(Accepted="False"))
    await world.settle()
    assert world.condition("Stalled")["reason"] == "GatewayRefused"
    assert world.status()["message"] == "the Gateway public does not take the route: about Accepted"


async def test_a_cluster_without_the_gateway_api_says_so_and_serves_inside() -> None:
    world = World()
    world.kube.served.discard(HTTP_ROUTE)
    world.service(gateway=GATEWAY)
    await world.settle()
    world.roll_out()
    await world.settle()
    assert world.condition("Stalled")["reason"] == "GatewayAPINotFound"
    assert world.status()["readyReplicas"] == 1
    world.kube.served.add(HTTP_ROUTE)
    world.later(60)
    await world.again()
    assert weights(world) == {version_service_name("iris", "default"): 100}
    assert world.condition("IngressReady")["reason"] == "GatewayPending"


async def test_from_an_ingress_to_a_gateway() -> None:
    world = World(ingress_domain="example.com")
    world.service()
    await world.settle()
    assert (INGRESS, "team", "iris") in world.kube.objects
    world.service(gateway=GATEWAY)
    await world.settle()
    assert (INGRESS, "team", "iris") not in world.kube.objects
    assert world.get(HTTP_ROUTE, "iris")["spec"]["hostnames"] == ["iris.example.com"]


async def test_a_leaving_version_keeps_its_service_and_its_share_until_the_new_one_is_ready() -> None:
    world = await routed()
    world.service(model=None, gateway=GATEWAY, versions=[{"name": "v3", "model": MODEL}])
    await world.settle()
    assert weights(world) == {version_service_name("iris", "v1"): 100}
    world.roll_out("iris-v3")
    await world.settle()
    assert weights(world) == {version_service_name("iris", "v3"): 100}
    assert world.get(DEPLOYMENT, "iris-v1")["spec"]["selector"]["matchLabels"] == selector("iris", "v1")
    world.later(10)
    await world.again()
    assert {name for kind, _, name in world.kube.objects if kind is DEPLOYMENT} == {"iris-v3"}


@pytest.mark.parametrize(
    ("parents", "reason"),
    [
        ([], "GatewayPending"),
        ([parent(Accepted="True")], "GatewayPending"),
        ([parent(Accepted="True"), parent("internal", Accepted="True")], "IngressAdmitted"),
        ([parent(Accepted="True"), parent("internal", Accepted="True", ResolvedRefs="False")], "GatewayRefused"),
        ([parent(Accepted="Unknown"), parent("internal", Accepted="True")], "GatewayPending"),
    ],
)
def test_every_gateway_has_to_take_the_route(parents: list[dict[str, Any]], reason: str) -> None:
    gateway = Gateway((GatewayParent("public", "infra"), GatewayParent("internal")))
    assert route_facts({"status": {"parents": parents}}, gateway, "https://iris.example.com").reason == reason
