"""Autoscaling on a real cluster, with a model that takes a fifth of a second for each row.

case                                          expected
from idle to four pods' worth                 four pods are asked for; how soon is printed
edits, autoscaling off, a number, on again    the number of pods is its owner's alone
a hundred edits of other fields (slow)        the number never changes, as a watch sees it; nor when it is turned off
metric: CPU                                   a HorizontalPodAutoscaler; the operator leaves the number alone
metric: CPU, with a metrics server (slow)     load adds pods; the operator leaves them there
nobody calls, then somebody does              no pods, then one; how long the request took is printed
five minutes of steady load, none (slow)      no change while it lasts; the minimum again after it
"""

import contextlib
import datetime as dt
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from devcluster import cluster, metrics
from devcluster.target import Target
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Kubectl, Namespace, Operator, eventually
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e

BOUNDS = {"minReplicas": 1, "maxReplicas": 6}
SLOTS = 4
ROW = [[0.2]]
"""What the model is asked: how long it sleeps, in seconds."""
FOUR_PODS = 11
"""Requests at a time that need four pods: 11 / (0.7 * 4 slots) = 3.9."""


def spec(namespace: Namespace, iris: dict, **fields: object) -> dict:
    settings = {"maxConcurrent": SLOTS, "maxQueueWaitMilliseconds": 60_000}
    model = {**iris["model"], "uri": "s3://models/slow/"}
    return namespace.published({**iris, "model": model, "requestSettings": settings, **fields})


def replicas(namespace: Namespace, name: str = "scaled") -> int:
    return int(namespace.get("deployment", f"{name}-default")["spec"]["replicas"])


def say(text: str) -> None:
    """Into the test's output."""
    sys.stdout.write(f"\n{text}\n")


def told(namespace: Namespace, reason: str) -> str:
    """What the Events of this reason say."""
    return " ".join(event["message"] for event in namespace.get("events")["items"] if event["reason"] == reason)


@contextlib.contextmanager
def requests_at_a_time(client: IngressClient, number: int, rows: object = ROW) -> Iterator[list[int]]:
    """Keep so many requests on their way; gives the statuses, which are complete after the block."""
    statuses: list[int] = []
    stop = threading.Event()

    def score() -> None:
        while not stop.is_set():
            statuses.append(client.score(rows).status)

    callers = [threading.Thread(target=score) for _ in range(number)]
    for caller in callers:
        caller.start()
    try:
        yield statuses
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def scaled_up(namespace: Namespace, iris: dict) -> IngressClient:
    namespace.deploy("scaled", spec(namespace, iris, autoscaling=BOUNDS))
    client = namespace.client("scaled")
    eventually_answered(client, ROW)
    return client


def test_four_pods_worth_of_load_gets_four_pods(namespace: Namespace, iris: dict) -> None:
    client = scaled_up(namespace, iris)
    assert replicas(namespace) == 1
    with requests_at_a_time(client, FOUR_PODS) as statuses:
        began = time.monotonic()
        eventually(lambda: replicas(namespace) >= 4, what="four pods are asked for", every=0.1)
        say(f"four pods were asked for within {time.monotonic() - began:.1f} s of the load, as kubectl sees it")
        eventually(lambda: "scaled version default from 1 to" in told(namespace, "ScaledUp"))
        namespace.wait_ready("scaled")
        load = eventually(lambda: namespace.get("scoringservice", "scaled")["status"].get("load"))
        assert load.endswith("%/70%")
    assert set(statuses) == {200}


def test_the_number_of_pods_has_one_owner(namespace: Namespace, iris: dict, operator: Operator) -> None:
    three, two = ({**BOUNDS, "minReplicas": number} for number in (3, 2))
    namespace.deploy("scaled", spec(namespace, iris, autoscaling=three))
    assert replicas(namespace) == 3
    for kilobytes in range(10, 20):
        settings = {**spec(namespace, iris)["requestSettings"], "maxBodyBytes": kilobytes * 1024}
        namespace.apply("scaled", {**spec(namespace, iris, autoscaling=three), "requestSettings": settings})
        seen_now(namespace)
        assert replicas(namespace) == 3

    namespace.apply("scaled", spec(namespace, iris))
    seen_now(namespace)
    assert replicas(namespace) == 3
    assert namespace.get("scoringservice", "scaled")["status"]["versions"][0]["keptReplicas"] == 3

    namespace.apply("scaled", spec(namespace, iris, replicas=2))
    seen_now(namespace)
    assert replicas(namespace) == 2

    namespace.apply("scaled", spec(namespace, iris, autoscaling=two))
    seen_now(namespace)
    assert replicas(namespace) == 2
    assert owners(namespace) == ["scoring-operator-replicas"]
    assert operator.restarts() == 0


def owners(namespace: Namespace) -> list[str]:
    """Who says how many pods there are, by the API server's own records."""
    found = namespace.get("deployment", "scaled-default", "--show-managed-fields")["metadata"]["managedFields"]
    return [entry["manager"] for entry in found if "f:replicas" in entry["fieldsV1"].get("f:spec", {})]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("bounds", "number"),
    [({**BOUNDS, "minReplicas": 2}, 2), ({**BOUNDS, "metric": "CPU"}, 3)],
    ids=["Utilization, at the minimum", "CPU, above the minimum"],
)
def test_a_hundred_edits_of_other_fields(
    namespace: Namespace, iris: dict, operator: Operator, bounds: dict, number: int
) -> None:
    namespace.deploy("scaled", spec(namespace, iris, autoscaling=bounds))
    namespace.run("scale", "deployment/scaled-default", f"--replicas={number}")
    with namespace.watching("deployment/scaled-default", "{.spec.replicas}") as noted:
        for edit in range(100):
            namespace.apply("scaled", other_fields(spec(namespace, iris, autoscaling=bounds), edit))
            seen_now(namespace)
        namespace.apply("scaled", spec(namespace, iris))
        seen_now(namespace)
        namespace.apply("scaled", other_fields(spec(namespace, iris), 100))
        seen_now(namespace)
        assert set(noted()) == {str(number)}
        namespace.apply("scaled", spec(namespace, iris, replicas=1))
        seen_now(namespace)
        assert set(noted()) == {str(number), "1"}
    assert operator.restarts() == 0


def other_fields(service: dict, edit: int) -> dict:
    """`service` with an edit of a field that has nothing to do with the number of pods; one in ten replaces pods."""
    callers = [{"namespaceSelector": {"matchLabels": {"edit": str(edit)}}}]
    light = (
        {"ingress": {**service["ingress"], "annotations": {"example.com/edit": str(edit)}}},
        {"networkPolicy": {"enabled": True, "allowFrom": callers}},
    )
    heavy = (
        {"requestSettings": {**service["requestSettings"], "maxBodyBytes": 10_240 + edit}},
        {"resources": {**service["resources"], "requests": {"cpu": f"{50 + edit}m", "memory": "128Mi"}}},
    )
    return {**service, **(heavy[edit // 10 % 2] if edit % 10 == 9 else light[edit % 2])}


def seen_now(namespace: Namespace) -> None:
    """Wait until the operator has carried out the newest spec."""

    def seen() -> bool:
        service = namespace.get("scoringservice", "scaled")
        return bool(service["status"].get("observedGeneration") == service["metadata"]["generation"])

    eventually(seen, what="the status speaks of the newest spec")


def test_the_cpu_is_scaled_by_kubernetes(namespace: Namespace, iris: dict) -> None:
    """Without a metrics server nothing is scaled; the object is what Kubernetes takes."""
    namespace.deploy("scaled", spec(namespace, iris, autoscaling={**BOUNDS, "metric": "CPU", "target": 60}))
    found = namespace.get("horizontalpodautoscaler", "scaled-default")
    assert found["spec"]["scaleTargetRef"]["name"] == "scaled-default"
    assert found["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    eventually(
        lambda: namespace.get("hpa", "scaled-default").get("status", {}).get("conditions"),
        what="Kubernetes looks after it",
    )
    namespace.run("scale", "deployment/scaled-default", "--replicas=2")
    namespace.apply("scaled", spec(namespace, iris, autoscaling={**BOUNDS, "metric": "CPU"}))
    seen_now(namespace)
    assert replicas(namespace) == 2


@pytest.fixture
def metrics_server(target: Target, kubectl: Kubectl) -> Iterator[None]:
    """The cluster's own metrics server, or one on the embedded cluster for the time of the test."""
    if kubectl("top", "nodes", check=False).returncode == 0:
        yield
    elif target.provider == "devcluster":
        with cluster.exclusive(target.paths):
            metrics.apply(target.paths)
        yield
        metrics.remove(target.paths)
    else:
        pytest.skip("the cluster has no metrics server")


@pytest.mark.slow
@pytest.mark.usefixtures("metrics_server")
def test_load_on_the_cpu_adds_pods(namespace: Namespace, iris: dict, operator: Operator) -> None:
    scaled_by_cpu = namespace.published({**iris, "autoscaling": {"maxReplicas": 3, "metric": "CPU", "target": 40}})
    namespace.deploy("scaled", scaled_by_cpu)
    client = namespace.client("scaled")
    eventually_answered(client, FLOWERS)
    assert replicas(namespace) == 1
    with requests_at_a_time(client, 2, FLOWERS) as statuses:
        began = time.monotonic()
        eventually(lambda: replicas(namespace) > 1, what="Kubernetes adds a pod")
        say(f"a second pod was asked for {time.monotonic() - began:.0f} s after the load began, as kubectl sees it")
        top = eventually(lambda: used(namespace), what="kubectl top knows a pod")
        say(f"kubectl top pods: {top}")
        namespace.apply("scaled", {**scaled_by_cpu, "requestSettings": {"timeoutSeconds": 50}})
        seen_now(namespace)
        namespace.wait_ready("scaled")
        assert replicas(namespace) > 1
    assert set(statuses) == {200}
    assert not [owner for owner in owners(namespace) if owner.startswith("scoring-operator")]
    eventually(lambda: scaling_is_active(namespace), what="the new pods of the edit are measured as well")
    assert operator.restarts() == 0


def scaling_is_active(namespace: Namespace) -> bool:
    """Whether the HorizontalPodAutoscaler has what it needs to know."""
    conditions = namespace.get("hpa", "scaled-default")["status"]["conditions"]
    return {one["type"]: one["status"] for one in conditions}["ScalingActive"] == "True"


def used(namespace: Namespace) -> str:
    """What `kubectl top` says of the pods: name, CPU, memory; empty while it knows none."""
    done = namespace.run("top", "pods", "--no-headers", "-l", "scoring.dev/version=default", check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_steady_load_moves_nothing_and_none_takes_the_pods_away(namespace: Namespace, iris: dict) -> None:
    client = scaled_up(namespace, iris)
    with requests_at_a_time(client, FOUR_PODS) as statuses:
        eventually(lambda: replicas(namespace) >= 4)
        namespace.wait_ready("scaled")
        with namespace.watching("deployment/scaled-default", "{.spec.replicas}") as noted:
            time.sleep(300)  # what does not happen can only be waited for
            assert set(noted()) == {"4"}
    assert set(statuses) == {200}
    began = time.monotonic()
    eventually(lambda: replicas(namespace) == 1, what="the minimum again")
    say(f"back at the minimum {time.monotonic() - began:.0f} s after the load, as kubectl sees it")


def test_a_service_sleeps_and_the_next_request_wakes_it(namespace: Namespace, iris: dict) -> None:
    bounds = {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 15, "holdSeconds": 180}
    namespace.deploy("scaled", spec(namespace, iris, autoscaling=bounds))
    client = namespace.client("scaled")
    patient = replace(client, timeout_seconds=PATIENCE)
    eventually_answered(patient, ROW)
    eventually(lambda: replicas(namespace) == 0, what="nobody calls")
    eventually(lambda: not pods(namespace), what="the pod is gone")
    assert namespace.condition("scaled", "Ready")["status"] == "True"

    began = time.monotonic()
    assert patient.score(ROW).status == 200
    took = time.monotonic() - began
    (pod,) = pods(namespace)
    made, ready = (
        dt.datetime.fromisoformat(moment) for moment in (pod["metadata"]["creationTimestamp"], ready_at(pod))
    )
    start = (ready - made).total_seconds()
    say(f"the first request after sleep took {took:.1f} s; its pod was ready {start:.0f} s after it was made")
    assert "a request waits for a pod" in told(namespace, "ScaledUp")
    assert "nobody has called for" in told(namespace, "ScaledDown")
    assert patient.score(ROW).status == 200


def pods(namespace: Namespace) -> list[dict]:
    return list(namespace.get("pods", "-l", "scoring.dev/service=scaled,scoring.dev/version=default").get("items", []))


def ready_at(pod: dict) -> str:
    """When the pod became ready."""
    return next(c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "Ready")
