"""Whole passes over a service that a Gateway publishes.

| situation                                   | what is expected                                                    |
|---------------------------------------------|---------------------------------------------------------------------|
| several versions                            | an HTTPRoute with the shares; no Ingress, no router                 |
| the Gateway has not answered, refuses       | IngressReady says which, in its words; Ready when it accepts        |
| the cluster has no Gateway API              | Stalled and what to do; pods all the same; taken up when it comes   |
| from ingress to gateway                     | the Ingress goes                                                    |
| the Gateway cannot mirror, or only all      | no filter that it does not know; the version says so                |
| redirectFrom                                | a second HTTPRoute, which has to be accepted too                    |
"""

from typing import Any

import pytest

from scoring_operator import kinds
from scoring_operator.gateways import mirroring_of, route_facts
from scoring_operator.kinds import DEPLOYMENT, HTTP_ROUTE, INGRESS
from scoring_operator.kube import ForbiddenError
from scoring_operator.naming import selector, version_service_name
from scoring_operator.spec import GatewayParent
from scoring_operator.traffic import Mirroring
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
    wanted = (GatewayParent("public", "infra"), GatewayParent("internal"))
    assert route_facts({"status": {"parents": parents}}, wanted, "https://iris.example.com").reason == reason


def gateway_with(world: World, *features: str) -> None:
    """The Gateway public, of a class that has these features."""
    world.kube.objects[kinds.GATEWAY, "infra", "public"] = {"spec": {"gatewayClassName": "quick"}}
    said = {"supportedFeatures": [{"name": name} for name in features]}
    world.kube.objects[kinds.GATEWAY_CLASS, "", "quick"] = {"status": said}


async def mirrored(world: World, mirror: int) -> list[dict[str, Any]]:
    """The filters of the route of a service of which v2 is a mirror; its pods are ready."""
    versions = [{"name": "v1", "model": MODEL}, {"name": "v2", "model": MODEL, "mirror": mirror}]
    world.service(model=None, gateway=GATEWAY, versions=versions)
    await world.settle()
    for name in ("iris-v1", "iris-v2"):
        world.roll_out(name)
    await world.settle()
    filters: list[dict[str, Any]] = world.get(HTTP_ROUTE, "iris")["spec"]["rules"][-1].get("filters", [])
    return filters


async def test_a_gateway_that_cannot_mirror_is_not_asked_to() -> None:
    world = World()
    gateway_with(world, "Gateway", "HTTPRoute")
    assert await mirrored(world, 20) == []
    assert weights(world) == {version_service_name("iris", "v1"): 100}
    assert world.status()["traffic"] == "v1=100,v2=0 (mirror 20 waits)"
    assert "the Gateway cannot copy requests" in world.status()["versions"][1]["message"]


async def test_a_gateway_that_mirrors_all_or_nothing() -> None:
    world = World()
    gateway_with(world, "HTTPRoute", "HTTPRouteRequestMirror")
    assert await mirrored(world, 20) == []
    assert "write mirror: 100" in world.status()["versions"][1]["message"]
    (copies,) = await mirrored(world, 100)
    assert "percent" not in copies["requestMirror"]
    assert world.status()["traffic"] == "v1=100,v2=0 (mirror 100)"


async def test_a_gateway_that_does_not_say_is_asked_to_mirror() -> None:
    world = World()
    world.kube.refuse = lambda _, kind, __: ForbiddenError("no", 403) if kind is kinds.GATEWAY else None
    (copies,) = await mirrored(world, 20)
    assert copies["requestMirror"]["percent"] == 20


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([], Mirroring.ANY),
        (["HTTPRoute"], Mirroring.NONE),
        (["HTTPRouteRequestMirror"], Mirroring.ALL),
        (["HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"], Mirroring.ANY),
    ],
)
def test_what_a_class_can_mirror(features: list[str], expected: Mirroring) -> None:
    said = {"status": {"supportedFeatures": [{"name": name} for name in features]}}
    assert mirroring_of(said) is expected
    assert mirroring_of(None) is Mirroring.ANY


async def test_a_redirect_is_a_route_of_its_own() -> None:
    world = World()
    listeners = {name: {"name": "public", "namespace": "infra", "sectionName": name} for name in ("http", "https")}
    gateway = {**GATEWAY, "parentRefs": [listeners["https"]], "redirectFrom": [listeners["http"]], "path": "/faq/"}
    world.service(gateway=gateway)
    await world.settle()
    world.roll_out()
    await world.settle()
    route, redirect = (world.get(HTTP_ROUTE, name)["spec"] for name in ("iris", "iris-redirect"))
    assert [parent["sectionName"] for parent in (*route["parentRefs"], *redirect["parentRefs"])] == ["https", "http"]
    assert {rule["matches"][0]["path"]["value"] for rule in (*route["rules"], *redirect["rules"])} == {"/faq"}
    assert redirect["hostnames"] == route["hostnames"]
    assert world.status()["url"] == "https://iris.example.com/faq"

    answer(world, parent(Accepted="True"))
    await world.settle()
    assert world.condition("IngressReady")["reason"] == "GatewayPending"
    refused = {"parents": [parent(Accepted="False")]}
    world.kube.change(HTTP_ROUTE, "iris-redirect", lambda route: route.update(status=refused))
    await world.settle()
    assert world.condition("IngressReady")["reason"] == "GatewayRefused"
    accepted = {"parents": [parent(Accepted="True")]}
    world.kube.change(HTTP_ROUTE, "iris-redirect", lambda route: route.update(status=accepted))
    await world.settle()
    assert world.condition("Ready")["status"] == "True"

    world.service(gateway=GATEWAY)
    await world.settle()
    assert (HTTP_ROUTE, "team", "iris-redirect") not in world.kube.objects
