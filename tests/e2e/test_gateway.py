"""Services that a Gateway publishes, through Traefik's real implementation of the Gateway API.

case                                    expected
two versions, no Ingress                shares by weights, a version by its header, no router; the status' URL
a path in front                         /iris/score, and nothing without it
TLS and the redirect                    HTTPS by the Gateway's certificate; HTTP is sent on to the same path
a mirror that Traefik cannot            nothing is copied, requests are answered, the status says so
shares change, a version goes           requests are answered all the time
a Gateway that is not there             IngressReady=False, waiting
"""

import json
import re
from collections import Counter

import pytest
import yaml

from tests.e2e.client import IngressClient
from tests.e2e.cluster import Kubectl, Namespace, eventually
from tests.e2e.test_ingress_tls import tls_secret
from tests.e2e.test_lifecycle import load, settled
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.e2e.test_versions import assert_exact, router_pods, scored, traffic

pytestmark = pytest.mark.e2e

CLASS = "traefik"
HTTP_PORT, HTTPS_PORT = 8000, 8443
"""Traefik's entry points as its pods know them; its Service has 80 and 443."""


@pytest.fixture
def gateway(namespace: Namespace, kubectl: Kubectl) -> str:
    """The certificate (PEM, its own authority) of the Gateway `public` in the namespace, with its two listeners."""
    found = kubectl("get", "gatewayclass", CLASS, "-o", "name", "--ignore-not-found", check=False)
    if found.returncode != 0 or not found.stdout.strip():
        pytest.skip(f"the cluster has no GatewayClass {CLASS}")
    secret = tls_secret("public", namespace.host)
    tls = {"mode": "Terminate", "certificateRefs": [{"name": "public"}]}
    listeners = [
        {"name": "http", "port": HTTP_PORT, "protocol": "HTTP"},
        {"name": "https", "port": HTTPS_PORT, "protocol": "HTTPS", "hostname": namespace.host, "tls": tls},
    ]
    public = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public"},
        "spec": {"gatewayClassName": CLASS, "listeners": listeners},
    }
    namespace.run("apply", "-f", "-", input=yaml.safe_dump_all([secret, public]))
    return secret["stringData"]["tls.crt"]


def published(namespace: Namespace, iris: dict, *versions: dict, **gateway: object) -> dict:
    """The iris service at the Gateway's listener for HTTPS, with these versions of it."""
    rest = {key: value for key, value in iris.items() if key != "model"}
    parents = [{"name": "public", "sectionName": "https"}]
    return {
        **rest,
        "gateway": {"parentRefs": parents, "hostnames": [namespace.host], **gateway},
        "versions": [{"model": iris["model"], **version} for version in versions],
    }


def client(namespace: Namespace, name: str, certificate: str, path: str = "/") -> IngressClient:
    ca = namespace.scratch / "gateway-ca.crt"
    ca.write_text(certificate)
    key = namespace.secret(f"{name}-keys")["primary"]
    return IngressClient(namespace.ingress_address, namespace.host, str(ca), key, path)


def test_a_gateway_splits_and_picks_by_header_and_redirects(namespace: Namespace, iris: dict, gateway: str) -> None:
    spec = published(
        namespace,
        iris,
        {"name": "v1"},
        {"name": "v2", "traffic": 30},
        redirectFrom=[{"name": "public", "sectionName": "http"}],
        path="/iris",
    )
    service = namespace.deploy("split", spec)
    assert service["status"]["url"] == f"https://{namespace.host}/iris"
    assert traffic(namespace, "split") == "v1=70,v2=30"
    assert namespace.condition("split", "IngressReady")["reason"] == "IngressAdmitted"
    assert router_pods(namespace, "split") == []
    assert namespace.get("ingresses") == {}
    caller = client(namespace, "split", gateway, "/iris")
    eventually_answered(caller, FLOWERS)

    before = {version: scored(namespace, "split", version) for version in ("v1", "v2")}
    for _ in range(300):
        assert caller.score(FLOWERS).status == 200
    found = {version: int(scored(namespace, "split", version) - count) for version, count in before.items()}
    assert sum(found.values()) == 300
    assert_exact(Counter(found), {"v1": 0.7, "v2": 0.3})
    for header in ("scoring-version", "azureml-model-deployment"):
        for _ in range(20):
            assert caller.score(FLOWERS, headers={header: "v2"}).status == 200
    assert scored(namespace, "split", "v2") - before["v2"] - found["v2"] == 40

    assert client(namespace, "split", gateway).score(FLOWERS).status == 404, "without the path"
    redirect = caller.score(FLOWERS, https=False)
    assert redirect.status in (301, 308)
    assert re.fullmatch(f"https://{namespace.host}(:443)?/iris/score", redirect.headers["location"])


def test_a_mirror_that_the_gateway_cannot_is_left_out(namespace: Namespace, iris: dict, gateway: str) -> None:
    namespace.deploy("copy", published(namespace, iris, {"name": "v1"}, {"name": "v2", "mirror": 100}))
    caller = client(namespace, "copy", gateway)
    eventually_answered(caller, FLOWERS)
    found = json.loads(namespace.kubectl("get", "gatewayclass", CLASS, "-o", "json").stdout)
    features = {feature["name"] for feature in found["status"].get("supportedFeatures", [])}
    before = scored(namespace, "copy", "v2")
    for _ in range(20):
        assert caller.score(FLOWERS).status == 200
    if "HTTPRouteRequestMirror" in features:
        eventually(lambda: scored(namespace, "copy", "v2") - before == 20, what="each request was copied")
    else:
        assert traffic(namespace, "copy") == "v1=100,v2=0 (mirror 100 waits)"
        second = namespace.get("scoringservice", "copy")["status"]["versions"][1]
        assert "the Gateway cannot copy requests" in second["message"]
        assert scored(namespace, "copy", "v2") == before


def test_shares_change_and_a_version_goes_without_a_failed_request(
    namespace: Namespace, iris: dict, gateway: str
) -> None:
    namespace.deploy("change", published(namespace, iris, {"name": "v1"}))
    caller = client(namespace, "change", gateway)
    eventually_answered(caller, FLOWERS)
    steps: list[tuple[dict, ...]] = [
        ({"name": "v1"}, {"name": "v2", "traffic": 50}),
        ({"name": "v1"}, {"name": "v2", "default": True}),
        ({"name": "v2"},),
    ]
    with load(caller) as statuses:
        for step in steps:
            namespace.apply("change", published(namespace, iris, *step))
            settled(namespace, "change")
        eventually(lambda: not namespace.get("deployment", "change-v1"), what="the old version is gone")
    assert len(statuses) > 30
    assert set(statuses) == {200}


def test_a_gateway_that_is_not_there_is_waited_for(namespace: Namespace, iris: dict, gateway: str) -> None:
    spec = published(namespace, iris, {"name": "v1"}, parentRefs=[{"name": "private"}])
    namespace.apply("lost", spec)
    eventually(lambda: namespace.condition("lost", "IngressReady").get("reason") == "GatewayPending")
    assert "private" in namespace.condition("lost", "IngressReady")["message"]
