"""The router's Deployment.

| about                          | expected                                                                  |
|--------------------------------|---------------------------------------------------------------------------|
| security                       | restricted, no token                                                      |
| replicas                       | two, spread and with a budget, where a version has more than one pod      |
| ports                          | the names of the models' own, which the Service in front goes by          |
| a change of shares             | the same Deployment, so no pod restarts                                   |
| time to end                    | longer than the slowest version's timeout                                 |
| accounts                       | one of the service's own as long as anything runs under it                |
| private registry, no image     | the default version's pull secrets; an error that names the setting       |
"""

import json
from typing import Any

import pytest

from scoring_operator.desired import desired_children
from scoring_operator.errors import RouterImageUnknown
from scoring_operator.resources.router import build_router
from scoring_operator.resources.service import build_service
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import ROUTER, Live
from tests.operator.services import MODEL, BuilderSettingsOf, service, surroundings

LIVE = Live(ready=["v1", "v2"], router_ready=True, target=ROUTER)


def two(second: dict[str, Any] | None = None, **spec: Any) -> ScoringService:
    """A service with two versions."""
    return service(versions=[{"name": "v1", "model": MODEL}, {"name": "v2", "model": MODEL, **(second or {})}], **spec)


def router(of: ScoringService) -> dict[str, Any]:
    found: dict[str, Any] = build_router(of, surroundings(of, live=LIVE))["spec"]
    return found


def test_restricted() -> None:
    pod = router(two())["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize(("spec", "replicas"), [({}, 1), ({"replicas": 2}, 2), ({"second": {"replicas": 3}}, 2)])
def test_replicas(spec: dict[str, Any], replicas: int) -> None:
    of = two(**spec)
    found = router(of)
    assert found["replicas"] == replicas
    assert ("topologySpreadConstraints" in found["template"]["spec"]) is (replicas > 1)
    budgets = [
        child
        for child in desired_children(of, surroundings(of, live=LIVE))
        if child["kind"] == "PodDisruptionBudget"
        and child["spec"]["selector"]["matchLabels"] == found["selector"]["matchLabels"]
    ]
    assert len(budgets) == (replicas > 1)


@pytest.mark.parametrize("grpc", [False, True])
def test_the_service_in_front_finds_its_ports(grpc: bool) -> None:
    of = two(grpc={"enabled": grpc})
    (container,) = router(of)["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in build_service(of, ROUTER)["spec"]["ports"]} <= ports
    files = next(child for child in desired_children(of, surroundings(of, live=LIVE)) if child["kind"] == "ConfigMap")
    listeners = json.loads(files["data"]["lds.json"])["resources"]
    listened = {each["address"]["socket_address"]["port_value"] for each in listeners}
    assert listened == {port["containerPort"] for port in container["ports"]}


def test_a_change_of_shares_restarts_no_router() -> None:
    assert router(two()) == router(two({"traffic": 50})) == router(two({"mirror": 50}))


def test_it_has_the_time_to_end_the_slowest_request() -> None:
    slow = two({"requestSettings": {"timeoutSeconds": 600}})
    assert router(slow)["template"]["spec"]["terminationGracePeriodSeconds"] > 600


def test_pull_secrets_are_the_default_versions() -> None:
    of = two(pod={"imagePullSecrets": [{"name": "registry"}]})
    assert router(of)["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_without_an_image_the_setting_is_named() -> None:
    of = two()
    with pytest.raises(RouterImageUnknown, match="SCORING_OPERATOR_ROUTER_IMAGE"):
        build_router(of, surroundings(of, settings=BuilderSettingsOf(router_image="")))


def test_versions_with_an_account_of_their_own_leave_the_router_one() -> None:
    of = two(pod={"serviceAccountName": "theirs"})
    assert accounts(of, LIVE) == [router(of)["template"]["spec"]["serviceAccountName"]]


@pytest.mark.parametrize("leaves", [{"router_lingers": True}, {"leaving": ("v1",)}])
def test_what_leaves_keeps_its_account(leaves: dict[str, Any]) -> None:
    of = service(pod={"serviceAccountName": "theirs"})
    assert len(accounts(of, Live(ready=["default"], **leaves))) == 1
    assert accounts(of, Live(ready=["default"])) == []


def test_without_a_router_versions_with_an_account_of_their_own_need_no_other() -> None:
    gateway = {"parentRefs": [{"name": "public"}]}
    assert accounts(two(pod={"serviceAccountName": "theirs"}, gateway=gateway), LIVE) == []
    assert len(accounts(two({"pod": {"serviceAccountName": "theirs"}}, gateway=gateway), LIVE)) == 1


def accounts(of: ScoringService, live: Live) -> list[str]:
    """The names of the service's ServiceAccounts."""
    children = desired_children(of, surroundings(of, live=live))
    return [child["metadata"]["name"] for child in children if child["kind"] == "ServiceAccount"]
