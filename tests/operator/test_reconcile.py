"""Whole passes of the operator over a cluster in memory.

| situation                                   | what is expected                                                    |
|---------------------------------------------|---------------------------------------------------------------------|
| a new service                               | children, then status, then Events; Ready when the pods are         |
| settled; settled and the operator restarts  | not one write                                                       |
| spec edited                                 | only what differs is applied                                        |
| child edited, deleted, no longer wanted     | put back, put back, deleted                                         |
| name taken by somebody else                 | Stalled naming it; nothing written at all; ends when it is gone     |
| spec that cannot be carried out             | Stalled, children untouched, recovers                               |
| API errors                                  | visible in status, retried, never Stalled for what may pass         |
| recorded images                             | survive another default; follow an edit                             |
| certificates                                | issued once, kept, renewed                                          |
"""

import datetime as dt
import json

import pytest
from cryptography import x509

from scoring_operator.kinds import (
    DEPLOYMENT,
    INGRESS,
    MIDDLEWARE,
    SCORING_SERVICE,
    SECRET,
    child_kind,
)
from scoring_operator.kube import ApiUnavailableError, ForbiddenError
from tests.operator.fake_kube import TLS, World, ready, secret, traefik

SERVICE = child_kind("v1", "Service")
SERVICE_ACCOUNT = child_kind("v1", "ServiceAccount")


async def test_a_new_service_gets_its_children_then_its_status_then_its_events() -> None:
    world = World()
    world.service()
    await world.settle()
    calls = [(method, kind) for method, kind, _ in world.kube.calls if method not in ("list", "metadata", "get")]
    assert calls[0][0] == "apply"
    assert calls.index(("merge_status", "ScoringService")) > max(
        index for index, (method, _) in enumerate(calls) if method == "apply"
    )
    assert calls.index(("create", "Event")) > calls.index(("merge_status", "ScoringService"))
    assert world.condition("Ready") | {"reason": "Deploying"} == world.condition("Ready")
    assert world.status()["replicasSummary"] == "0/1"
    assert {event[1] for event in world.kube.events} == {"Created", "KeysGenerated"}

    world.roll_out()
    await world.settle()
    assert world.condition("Ready")["status"] == "True"
    assert world.status()["url"] == "http://iris.team.svc"
    assert ("Normal", "Ready", "1 of 1 replica ready, http://iris.team.svc") in world.kube.events


@pytest.mark.parametrize("spec", [{}, {"ingress": TLS}, {"replicas": 3, "networkPolicy": {"enabled": True}}])
async def test_a_settled_service_is_not_written_to_and_not_asked_for(spec: dict[str, object]) -> None:
    world = await ready(**spec)
    await world.again()
    assert world.kube.calls == []
    world.start()
    await world.settle()
    assert world.kube.writes == []
    assert {call[0] for call in world.kube.calls} <= {"list", "get"}


async def test_an_edit_applies_only_what_differs() -> None:
    world = await ready()
    world.service(replicas=2)
    await world.settle()
    assert [call for call in world.kube.writes if call[0] != "merge_status"] == [
        ("apply", "Deployment", "iris-default"),
        ("apply", "PodDisruptionBudget", "iris-default"),
    ]
    assert any("spec.replicas" in note for _, reason, note in world.kube.events if reason == "Updated")


async def test_what_is_no_longer_wanted_is_deleted_and_nobody_elses() -> None:
    world = await ready(ingress=TLS)
    world.kube.put(
        SECRET, {"metadata": {"name": "other", "namespace": "team", "labels": {"scoring.dev/service": "iris"}}}
    )
    assert (INGRESS, "team", "iris") in world.kube.objects
    world.service()
    await world.settle()
    assert (INGRESS, "team", "iris") not in world.kube.objects
    assert (MIDDLEWARE, "team", "iris-redirect") not in world.kube.objects
    assert (SECRET, "team", "iris-tls") not in world.kube.objects
    assert (SECRET, "team", "other") in world.kube.objects


async def test_an_edited_child_is_put_back() -> None:
    world = await ready()
    world.kube.change(SERVICE, "iris", lambda found: found["spec"]["selector"].update({"scoring.dev/service": "x"}))
    world.kube.change(DEPLOYMENT, "iris-default", lambda found: found["spec"].update(replicas=5))
    await world.settle()
    assert world.get(SERVICE, "iris")["spec"]["selector"]["scoring.dev/service"] == "iris"
    assert world.get(DEPLOYMENT, "iris-default")["spec"]["replicas"] == 1


async def test_what_others_add_to_a_child_stays() -> None:
    world = await ready()
    world.kube.change(SERVICE, "iris", lambda found: found["metadata"].setdefault("annotations", {}).update(a="b"))
    await world.settle()
    assert world.kube.writes == []
    assert world.get(SERVICE, "iris")["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(DEPLOYMENT, "iris-default"), (SERVICE, "iris"), (SERVICE_ACCOUNT, "iris"), (SECRET, "iris-keys")],
)
async def test_a_deleted_child_comes_back(kind: object, name: str) -> None:
    world = await ready()
    world.kube.remove(kind, "team", name)  # type: ignore[arg-type]
    await world.settle()
    assert (kind, "team", name) in world.kube.objects


async def test_a_taken_name_stops_everything_until_it_is_free() -> None:
    world = World()
    world.kube.put(SERVICE, {"metadata": {"name": "iris", "namespace": "team"}, "spec": {"clusterIP": "None"}})
    world.service()
    errors = await world.settle()
    assert {type(error).__name__ for error in errors} == {"NameConflict"}
    assert world.condition("Stalled")["reason"] == "NameConflict"
    assert "Service team/iris" in world.status()["message"]
    assert [call[0] for call in world.kube.writes] == ["merge_status"]
    assert world.get(SERVICE, "iris")["spec"] == {"clusterIP": "None"}

    world.kube.remove(SERVICE, "team", "iris")
    assert await world.again() == []
    assert world.condition("Stalled")["status"] == "False"


async def test_a_bad_spec_is_refused_and_the_old_state_keeps_running() -> None:
    world = await ready()
    world.service(model={"uri": "gopher://models/iris", "framework": "sklearn"})
    await world.settle()
    assert world.kube.writes == [("merge_status", "ScoringService", "iris")]
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert world.condition("Ready")["message"].endswith("the previous version keeps serving")
    status = world.status()
    assert (status["readyReplicas"], status["observedGeneration"], status["model"]) == (1, 2, "s3://models/iris/3/")
    world.service()
    await world.settle()
    assert world.condition("Ready")["status"] == "True"


async def test_a_framework_without_image_says_what_to_set() -> None:
    world = World(runtime_images={})
    world.service()
    await world.settle()
    assert world.condition("Stalled")["status"] == "True"
    assert "SCORING_OPERATOR_RUNTIME_IMAGES" in world.status()["message"]


async def test_an_unreachable_api_is_retried_and_is_not_the_users_fault() -> None:
    world = World()
    world.service()
    world.kube.refuse = lambda method, kind, _: (
        ApiUnavailableError("etcd is away") if (method, kind) == ("apply", DEPLOYMENT) else None
    )
    errors = await world.settle()
    assert {str(error) for error in errors} == {"etcd is away"}
    assert world.condition("Stalled")["status"] == "False"
    assert world.condition("Reconciling")["reason"] == "ApiUnavailable"
    assert (SERVICE, "team", "iris") in world.kube.objects, "the others were tried all the same"
    world.kube.refuse = lambda *_: None
    assert await world.again() == []
    assert (DEPLOYMENT, "team", "iris-default") in world.kube.objects


async def test_a_forbidden_child_stalls_with_the_servers_words() -> None:
    world = World()
    world.service()
    world.kube.refuse = lambda method, kind, _: (
        ForbiddenError("exceeded quota: team", 403) if (method, kind) == ("apply", DEPLOYMENT) else None
    )
    await world.settle()
    assert world.condition("Stalled")["reason"] == "Forbidden"
    assert "exceeded quota" in world.status()["message"]


async def test_a_bug_is_told_without_values_and_retried() -> None:
    world = World()
    world.service()
    world.kube.refuse = lambda method, *_: ValueError("secret value") if method == "apply" else None
    errors = await world.settle()
    assert {type(error).__name__ for error in errors} == {"InternalError"}
    assert "ValueError" in world.status()["message"]
    assert "secret value" not in json.dumps(world.status())


async def test_another_default_image_restarts_nothing_until_the_version_is_edited() -> None:
    world = await ready()
    world.settings = world.settings.model_copy(update={"runtime_images": {"sklearn": "sklearn:2"}})
    world.start()
    await world.settle()
    assert world.kube.writes == []
    world.service(replicas=2)
    await world.settle()
    assert image(world) == "sklearn:1", "scaling is no edit of the version's pods"
    world.service(model={"uri": "s3://models/iris/4/", "framework": "sklearn"})
    await world.settle()
    assert image(world) == "sklearn:2"
    assert world.status()["versions"][0]["image"] == "sklearn:2"


def image(world: World) -> str:
    pod = world.get(DEPLOYMENT, "iris-default")["spec"]["template"]["spec"]
    return str(pod["containers"][0]["image"])


async def test_a_service_that_is_deleted_is_left_alone() -> None:
    world = await ready()
    world.kube.remove(SCORING_SERVICE, "team", "iris")
    await world.settle()
    assert world.kube.calls == []


async def test_a_service_made_again_waits_for_the_old_children_to_go() -> None:
    world = await ready()
    world.kube.remove(SCORING_SERVICE, "team", "iris")
    world.service()
    assert {type(error).__name__ for error in await world.settle()} == {"NameConflict"}
    for kind, namespace, name in [
        key for key in world.kube.objects if key[1] == "team" and key[0] in world.loop.available
    ]:
        if kind is not SCORING_SERVICE:
            world.kube.remove(kind, namespace, name)
    await world.settle()
    world.roll_out()
    await world.settle()
    assert world.condition("Ready")["status"] == "True"


async def test_a_self_signed_certificate_is_issued_renewed_and_verifies() -> None:
    world = await ready(ingress=TLS)
    first = secret(world, "iris-tls")
    authority = x509.load_pem_x509_certificate(first["ca.crt"].encode())
    leaf = x509.load_pem_x509_certificate(first["tls.crt"].encode())
    leaf.verify_directly_issued_by(authority)
    await world.again()
    assert secret(world, "iris-tls") == first

    world.later(61 * 86400)
    await world.again()
    second = secret(world, "iris-tls")
    assert second["tls.crt"] != first["tls.crt"]
    assert second["ca.crt"] == first["ca.crt"]
    assert "CertificateRenewed" in {reason for _, reason, _ in world.kube.events}
    exposition = world.loop._metrics.exposition().decode()
    ends = leaf.not_valid_after_utc + dt.timedelta(days=61)
    assert f"{ends.timestamp():.9e}"[:8] in exposition


async def test_two_operators_agree_on_one_authority() -> None:
    world = World()
    traefik(world)
    world.service("one", ingress={**TLS, "host": "one.example.com"})
    world.service("two", ingress={**TLS, "host": "two.example.com"})
    await world.settle()
    world.start()
    world.service("three", ingress={**TLS, "host": "three.example.com"})
    await world.settle()
    roots = {secret(world, f"{name}-tls")["ca.crt"] for name in ("one", "two", "three")}
    assert len(roots) == 1


async def test_a_lost_authority_is_replaced_and_so_are_its_certificates() -> None:
    world = await ready(ingress=TLS)
    first = secret(world, "iris-tls")
    world.kube.remove(SECRET, "default", "scoring-operator-ca")
    world.later(world.settings.resync_seconds + 1)
    await world.again()
    second = secret(world, "iris-tls")
    assert second["ca.crt"] != first["ca.crt"]
    x509.load_pem_x509_certificate(second["tls.crt"].encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(second["ca.crt"].encode())
    )


async def test_an_unknown_ingress_class_is_named_and_noticed_when_it_comes() -> None:
    world = World()
    world.service(ingress=TLS)
    await world.settle()
    world.roll_out()
    await world.settle()
    assert world.condition("IngressReady") | {"status": "False", "reason": "IngressClassNotFound"} == world.condition(
        "IngressReady"
    )
    assert world.condition("Ready")["status"] == "False"
    traefik(world)
    await world.settle()
    assert world.condition("Ready")["status"] == "True"


async def test_a_given_certificate_is_waited_for() -> None:
    world = World()
    traefik(world)
    world.service(ingress={**TLS, "tls": {"secretName": "given-tls"}})
    await world.settle()
    world.roll_out()
    await world.settle()
    assert world.condition("IngressReady")["reason"] == "TLSSecretNotFound"
    assert "given-tls" in world.status()["message"]
    world.kube.put(SECRET, {"metadata": {"name": "given-tls", "namespace": "team"}, "data": {}})
    await world.again()
    assert world.condition("Ready")["status"] == "True"
    world.kube.calls.clear()
    await world.again()
    assert world.kube.calls == [], "it is not asked for at every pass"


async def test_without_traefiks_api_no_middleware_is_wanted() -> None:
    world = World()
    world.kube.served.clear()
    traefik(world)
    world.service(ingress=TLS)
    assert await world.settle() == []
    assert (MIDDLEWARE, "team", "iris-redirect") not in world.kube.objects
    world.kube.served.add(MIDDLEWARE)
    world.later(61)
    await world.again()
    assert (MIDDLEWARE, "team", "iris-redirect") in world.kube.objects
