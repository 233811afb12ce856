"""What happens to a service after it was made: edits, scaling, drift, deletion, with the operator up or down.

case                               expected
edit resources, image, replicas    the Deployment follows; requests are answered all the time
kubectl scale                      status and Deployment follow
a child is deleted or edited       it is put back
keys rotated under load            the old key is refused, the new one works, no pod restarts, no request fails
the service is deleted             nothing of it is left
an edit while the operator is down is carried out when it comes back
a settled service                  the operator writes nothing
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster.target import Target
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, Operator, eventually
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e


def template(namespace: Namespace, name: str) -> dict:
    """The pod template of the service's Deployment."""
    return namespace.get("deployment", f"{name}-default")["spec"]["template"]["spec"]


def test_edits_are_carried_out_without_a_failed_request(namespace: Namespace, iris: dict, images: dict) -> None:
    spec = namespace.published(iris)
    namespace.deploy("edit", spec)
    client = namespace.client("edit")
    eventually_answered(client, FLOWERS)
    with load(client) as statuses:
        spec["resources"] = {"requests": {"cpu": "60m", "memory": "128Mi"}, "limits": {"memory": "600Mi"}}
        namespace.apply("edit", spec)
        settled(namespace, "edit")
        assert template(namespace, "edit")["containers"][0]["resources"]["limits"]["memory"] == "600Mi"

        # The same image under its other tag-like name is another string, so the pods are replaced; both can serve iris.
        spec["image"] = images["runtime"]["sklearn"] + "-again"
        namespace.apply("edit", spec)
        broken = namespace.wait_reason("edit", "ImagePullFailed")
        assert "previous version keeps serving" in broken["status"]["message"]
        del spec["image"]
        namespace.apply("edit", spec)
        settled(namespace, "edit")

        spec["replicas"] = 2
        namespace.apply("edit", spec)
        settled(namespace, "edit")
        assert namespace.get("scoringservice", "edit")["status"]["readyReplicas"] == 2
        assert namespace.get("pdb", "edit-default")["spec"]["maxUnavailable"] == 1
    assert len(statuses) > 50
    assert set(statuses) == {200}


@contextlib.contextmanager
def load(client: IngressClient) -> Iterator[list[int]]:
    """Score one request after the other meanwhile; gives the statuses, which are complete after the block."""
    statuses: list[int] = []
    stop = threading.Event()

    def score() -> None:
        while not stop.is_set():
            statuses.append(client.score(FLOWERS).status)

    loader = threading.Thread(target=score)
    loader.start()
    try:
        yield statuses
    finally:
        stop.set()
        loader.join()


def settled(namespace: Namespace, name: str) -> dict:
    """Wait until the status speaks of the newest generation and is Ready."""

    def current() -> dict | None:
        service = namespace.get("scoringservice", name)
        ready = namespace.condition(name, "Ready")
        fresh = service.get("status", {}).get("observedGeneration") == service["metadata"]["generation"]
        return service if fresh and ready.get("status") == "True" else None

    return eventually(current, what=f"{name} Ready at its newest generation")


def test_kubectl_scale(namespace: Namespace, iris: dict) -> None:
    namespace.deploy("scaled", iris)
    namespace.run("scale", "scoringservice/scaled", "--replicas=2")
    settled(namespace, "scaled")
    eventually(lambda: namespace.get("scoringservice", "scaled")["status"]["replicasSummary"] == "2/2")
    namespace.run("scale", "scoringservice/scaled", "--replicas=0")
    eventually(lambda: namespace.get("deployment", "scaled-default")["spec"]["replicas"] == 0)
    namespace.run("scale", "scoringservice/scaled", "--replicas=1")
    eventually(lambda: namespace.get("scoringservice", "scaled")["status"]["replicasSummary"] == "1/1")


def test_drift_is_corrected(namespace: Namespace, iris: dict) -> None:
    namespace.deploy("drift", namespace.published(iris))
    keys = namespace.secret("drift-keys")
    for child in (
        "deployment/drift-default",
        "service/drift",
        "ingress/drift",
        "secret/drift-tls",
        "serviceaccount/drift",
    ):
        kind, name = child.split("/")
        before = namespace.get(kind, name)["metadata"]["uid"]
        namespace.run("delete", child, "--wait=false")
        eventually(
            lambda k=kind, n=name, b=before: namespace.get(k, n).get("metadata", {}).get("uid") not in {None, b},
            what=child,
        )
    namespace.run(
        "patch", "service/drift", "--type=merge", "-p", '{"spec": {"selector": {"scoring.dev/service": "other"}}}'
    )
    eventually(lambda: namespace.get("service", "drift")["spec"]["selector"]["scoring.dev/service"] == "drift")
    namespace.run("scale", "deployment/drift-default", "--replicas=3")
    eventually(lambda: namespace.get("deployment", "drift-default")["spec"]["replicas"] == 1)
    namespace.wait_ready("drift")
    assert namespace.secret("drift-keys") == keys

    namespace.run("delete", "secret/drift-keys")
    eventually(lambda: namespace.secret("drift-keys").get("primary") not in {None, "", keys["primary"]})


def test_keys_rotate_without_a_restart(namespace: Namespace, iris: dict) -> None:
    namespace.deploy("rotate", namespace.published(iris))
    client = namespace.client("rotate")
    eventually_answered(client, FLOWERS)
    pods = namespace.run("get", "pods", "-o", "name").stdout
    other = replace(client, key=namespace.secret("rotate-keys")["secondary"])
    new = {"Authorization": "Bearer a-new-key-of-the-user"}
    with load(other) as statuses:
        namespace.run(
            "patch", "secret/rotate-keys", "--type=merge", "-p", '{"stringData": {"primary": "a-new-key-of-the-user"}}'
        )
        # kubelet writes a changed Secret into running pods in about a minute; a touched pod syncs at once.
        namespace.run("annotate", "pods", "--all", "test/touched=now")
        eventually(lambda: client.score(FLOWERS, headers=new).status == 200, what="the new key to work")
        assert client.score(FLOWERS).status == 401
    assert len(statuses) > 10
    assert set(statuses) == {200}
    assert namespace.run("get", "pods", "-o", "name").stdout == pods


def test_deleting_the_service_leaves_nothing(namespace: Namespace, iris: dict, operator: Operator) -> None:
    spec = {**namespace.published(iris), "replicas": 2, "networkPolicy": {"enabled": True}}
    namespace.deploy("gone", spec)
    kinds = {entry.split("/")[0].split(".")[0] for entry in namespace.owned("gone")}
    assert kinds >= {
        *("deployment", "replicaset", "pod", "service", "ingress", "secret"),
        *("serviceaccount", "poddisruptionbudget", "networkpolicy"),
    }
    operator.stop()
    try:
        namespace.run("delete", "scoringservice/gone", f"--timeout={PATIENCE}s")
        eventually(lambda: namespace.owned("gone") == [], what="every child to be collected")
    finally:
        operator.start()


def test_an_edit_while_the_operator_is_down_is_carried_out(
    namespace: Namespace, iris: dict, operator: Operator
) -> None:
    namespace.deploy("asleep", iris)
    pods = namespace.run("get", "pods", "-o", "name").stdout
    operator.stop()
    try:
        namespace.apply("asleep", {**iris, "replicas": 2})
        namespace.run("delete", "service/asleep")
    finally:
        operator.start()
    settled(namespace, "asleep")
    eventually(lambda: namespace.get("scoringservice", "asleep")["status"]["replicasSummary"] == "2/2")
    eventually(lambda: namespace.get("service", "asleep") != {})
    assert set(pods.split()) <= set(namespace.run("get", "pods", "-o", "name").stdout.split())


def writes(audit_log: Path) -> list[dict]:
    """Every completed write by the operator's service account that is in the API server's audit log, Leases apart."""
    entries = map(json.loads, audit_log.read_text().splitlines())
    return [
        entry
        for entry in entries
        if entry["user"]["username"] == "system:serviceaccount:scoring-system:scoring-operator"
        and entry["verb"] in {"create", "update", "patch", "delete", "deletecollection"}
        and entry["objectRef"].get("resource") not in {"leases", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
    ]


@pytest.mark.parametrize(
    "seconds",
    [30, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
    ids=["half a minute", "5 minutes"],
)
def test_a_settled_service_causes_no_write(
    namespace: Namespace, iris: dict, target: Target, operator: Operator, seconds: int
) -> None:
    if target.audit_log is None:
        pytest.skip("this cluster gives no audit log to read")
    namespace.deploy("settled", namespace.published(iris))
    audit_log = Path(target.audit_log)
    mine = lambda: [w for w in writes(audit_log) if w["objectRef"].get("namespace") == namespace.name]  # noqa: E731
    eventually_quiet(mine)
    before = len(mine())
    assert before > 0
    threading.Event().wait(seconds)
    operator.stop()
    operator.start()  # a new operator over a settled service writes nothing either
    assert [(w["verb"], w["objectRef"]["resource"]) for w in mine()[before:]] == []


def eventually_quiet(count: object) -> None:
    """Wait until no write has come for five seconds."""
    seen: list[int] = []

    def quiet() -> bool:
        seen.append(len(count()))  # type: ignore[operator]
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    eventually(quiet, what="the writes of the rollout to end")
