"""Services that KEDA scales: KEDA's real resource definitions judge what the operator makes.

KEDA itself does not run here: what it does, it does through the Deployment's `/scale`, and so does the test.

case                                      expected
KEDA is there                             the ScaledObject as it was written; KEDA's number; without the field it goes
a trigger that KEDA does not take         the refusal's own words; the pods serve
KEDA comes later                          KedaNotFound and serving, then the ScaledObject
"""

import json
from collections.abc import Iterator

import pytest

from devcluster import definitions
from devcluster.target import Target
from tests.e2e.cluster import Kubectl, Namespace, eventually
from tests.e2e.test_autoscaling import replicas, seen_now, spec
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DEFINITION = "scaledobjects.keda.sh"
CRON = {
    "type": "cron",
    "name": "day",
    "metadata": {"timezone": "Etc/UTC", "start": "0 7 * * *", "end": "0 19 * * *", "desiredReplicas": "3"},
}
KEDA = {
    "pollingInterval": 10,
    "cooldownPeriod": 60,
    "fallback": {"failureThreshold": 3, "replicas": 2},
    "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}},
    "triggers": [CRON, {"type": "kafka", "metadata": {"topic": "rows"}, "authenticationRef": {"name": "kafka"}}],
}
BOUNDS = {"minReplicas": 1, "maxReplicas": 4}


class Definitions:
    """KEDA's kinds in the cluster, put there and taken away as the test wants."""

    def __init__(self, kubectl: Kubectl, target: Target) -> None:
        self._kubectl = kubectl
        self._folder = str(definitions.folder(target.paths, definitions.KEDA))

    def install(self) -> None:
        self._kubectl("apply", "--server-side", "-f", self._folder)
        eventually(self._established, what="KEDA's kinds are served")  # kubectl wait stumbles over a new one's null

    def _established(self) -> bool:
        status = json.loads(self._kubectl("get", "crd", DEFINITION, "-o", "json").stdout).get("status") or {}
        conditions = status.get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    def remove(self) -> None:
        self._kubectl("delete", "--ignore-not-found", "-f", self._folder, f"--timeout={PATIENCE}s")


@pytest.fixture
def keda(kubectl: Kubectl, target: Target) -> Iterator[Definitions]:
    found = Definitions(kubectl, target)
    if kubectl("get", "crd", DEFINITION, "--ignore-not-found", "-o", "name").stdout.strip():
        pytest.skip("the cluster has a KEDA of its own, which these tests would remove")
    yield found
    found.remove()


def scaled_object(namespace: Namespace) -> dict:
    return namespace.get("scaledobject", "scaled-default")


def test_keda_is_told_what_to_scale(namespace: Namespace, iris: dict, keda: Definitions) -> None:
    keda.install()
    namespace.deploy("scaled", spec(namespace, iris, autoscaling={**BOUNDS, "keda": KEDA}))
    found = scaled_object(namespace)
    assert found["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled-default"}
    assert (found["spec"]["minReplicaCount"], found["spec"]["maxReplicaCount"]) == (1, 4)
    assert found["spec"]["triggers"] == KEDA["triggers"]
    assert found["spec"]["advanced"] == KEDA["advanced"]

    namespace.run("scale", "deployment/scaled-default", "--replicas=2")
    namespace.apply("scaled", spec(namespace, iris, autoscaling={**BOUNDS, "maxReplicas": 5, "keda": KEDA}))
    seen_now(namespace)
    eventually(lambda: scaled_object(namespace)["spec"]["maxReplicaCount"] == 5)
    assert replicas(namespace) == 2
    before = scaled_object(namespace)["metadata"]["resourceVersion"]

    bad = {**CRON, "metadata": {**CRON["metadata"], "desiredReplicas": 3}}
    namespace.apply("scaled", spec(namespace, iris, autoscaling={**BOUNDS, "keda": {**KEDA, "triggers": [bad]}}))
    told = eventually(lambda: refusal(namespace), what="the refusal is told")
    assert "desiredReplicas" in told
    assert "expected string" in told
    assert scaled_object(namespace)["metadata"]["resourceVersion"] == before
    assert replicas(namespace) == 2

    namespace.apply("scaled", spec(namespace, iris))
    eventually(lambda: not scaled_object(namespace), what="the ScaledObject is gone")
    seen_now(namespace)
    assert replicas(namespace) == 2


def refusal(namespace: Namespace) -> str:
    """What Stalled says once KEDA's definition has refused a trigger; empty until then."""
    stalled = namespace.condition("scaled", "Stalled")
    return stalled["message"] if stalled["reason"] == "ChildRejected" else ""


def test_keda_may_come_later(namespace: Namespace, iris: dict, keda: Definitions) -> None:
    namespace.apply("scaled", spec(namespace, iris, autoscaling={**BOUNDS, "minReplicas": 2, "keda": KEDA}))
    eventually(lambda: namespace.condition("scaled", "Stalled").get("reason") == "KedaNotFound")
    eventually(lambda: namespace.get("scoringservice", "scaled")["status"]["readyReplicas"] == 2)
    message = namespace.get("scoringservice", "scaled")["status"]["message"]
    assert "install KEDA" in message
    keda.install()
    eventually(lambda: scaled_object(namespace), what="the operator has noticed KEDA")
    namespace.wait_ready("scaled")
    assert replicas(namespace) == 2
