"""What is observed of Deployments and, only where needed, of pods.

| Deployment                       | pods listed        | facts                                             |
|----------------------------------|--------------------|---------------------------------------------------|
| complete                         | never              | complete                                          |
| just edited                      | not at once        | progress from the Deployment alone                |
| still not ready after a second   | ever less often    | cause and stage of the newest revision's pods     |
| new pods fail, old ones answer   | yes                | the failure, and that the previous version serves |
| pods refused by a quota          | yes                | the refusal                                       |
| a new generation                 | starts over        |                                                   |
"""

import datetime as dt
from typing import Any

import pytest

from scoring_operator.conditions import VersionFacts
from scoring_operator.deployments import version_facts
from scoring_operator.errors import Reason
from scoring_operator.kinds import EVENT, POD, REPLICA_SET
from scoring_operator.kube import ForbiddenError
from scoring_operator.observe import Observer
from tests.operator.fake_kube import FakeKube
from tests.operator.test_pods import CAUSES, condition, container, pod, waiting

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
LABELS = {"scoring.dev/service": "iris", "scoring.dev/version": "default"}


def deployment(wanted: int = 1, generation: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "iris-default",
            "namespace": "team",
            "uid": "d",
            "generation": generation,
            "labels": LABELS,
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": wanted, "selector": {"matchLabels": LABELS}},
        "status": {"observedGeneration": generation, **status},
    }


def counts(replicas: int, updated: int, ready: int) -> dict[str, int]:
    return {"replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready}


class Cluster:
    """Pods and ReplicaSets of one Deployment, an observer, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.seconds = 0.0
        self.observer = Observer(self.kube, lambda: self.seconds)  # type: ignore[arg-type]
        for number in (1, 2):
            self.kube.put(REPLICA_SET, self._replica_set(number))

    def _replica_set(self, number: int) -> dict[str, Any]:
        return {
            "metadata": {
                "name": f"rs{number}",
                "namespace": "team",
                "labels": {**LABELS, "pod-template-hash": f"hash{number}"},
                "annotations": {"deployment.kubernetes.io/revision": str(number)},
                "ownerReferences": [{"uid": "d"}],
            }
        }

    def add(self, found: dict[str, Any], revision: int) -> None:
        name = f"pod{len(self.kube.objects)}"
        labels = {**LABELS, "pod-template-hash": f"hash{revision}"}
        self.kube.put(POD, {**found, "metadata": {"name": name, "namespace": "team", "labels": labels, "uid": name}})

    async def look(self, found: dict[str, Any], after: float = 2.1) -> VersionFacts:
        (facts,) = await self.observer.observe([found], NOW)
        self.seconds += after
        (facts,) = await self.observer.observe([found], NOW)
        return facts


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        (deployment(**counts(1, 1, 1)), True),
        (deployment(0, **counts(0, 0, 0)), True),
        (deployment(2, **counts(2, 2, 1)), False),
        (deployment(2, **counts(3, 2, 3)), False),
        (deployment(2, **counts(2, 1, 2)), False),
        (deployment(1, generation=2, **{**counts(1, 1, 1), "observedGeneration": 1}), False),
        ({**deployment(), "status": {}}, False),
    ],
)
def test_a_rollout_is_complete_when_all_pods_are_new_and_ready_and_no_others_left(
    found: dict[str, Any], complete: bool
) -> None:
    assert version_facts(found).complete is complete


def test_only_updates_are_in_place() -> None:
    found = deployment(**counts(1, 1, 0))
    found["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 0}}
    assert version_facts(found).in_place
    found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert not version_facts(found).in_place, "there is nothing to update at the first start"


async def test_pods_of_a_complete_version_are_never_listed() -> None:
    cluster = Cluster()
    assert (await cluster.look(deployment(**counts(1, 1, 1)), after=100)).complete
    assert cluster.kube.calls == []
    assert cluster.observer.next_look([deployment()]) is None


async def test_looks_become_rarer() -> None:
    cluster = Cluster()
    found = deployment(**counts(1, 1, 0))
    waits = []
    for _ in range(7):
        await cluster.observer.observe([found], NOW)
        wait = cluster.observer.next_look([found])
        assert wait is not None
        waits.append(wait)
        cluster.seconds += wait
    assert waits == [1, 2, 2, 3, 5, 10, 10]
    listings = len(cluster.kube.calls)
    await cluster.observer.observe([found], NOW)
    await cluster.observer.observe([found], NOW)
    assert len(cluster.kube.calls) == listings + 2, "an event between two looks lists nothing"


async def test_the_newest_revisions_failure_is_told_and_that_the_old_one_serves() -> None:
    cluster = Cluster()
    cluster.add(CAUSES["message of the fetch"][0], revision=2)
    cluster.add(pod(conditions=(condition("Ready", "True"),)), revision=1)
    facts = await cluster.look(deployment(**counts(2, 1, 1)))
    assert facts.failure is not None
    assert facts.failure.reason is Reason.MODEL_NOT_FOUND
    assert facts.old_ready


async def test_what_is_wrong_with_old_pods_is_of_no_interest() -> None:
    cluster = Cluster()
    cluster.add(CAUSES["message of the fetch"][0], revision=1)
    cluster.add(pod(container("fetch", {"running": {}})), revision=2)
    facts = await cluster.look(deployment(**counts(2, 1, 0)))
    assert facts.failure is None
    assert facts.progress == "fetching the model"
    assert not facts.old_ready


async def test_a_refused_pod_is_told_from_the_deployment() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota: team.'}
    facts = await Cluster().look(deployment(**counts(0, 0, 0), conditions=[refused]))
    assert facts.failure is not None
    assert (facts.failure.reason, facts.failure.message) == (
        Reason.POD_REJECTED,
        'pods "x" is forbidden: exceeded quota: team',
    )


async def test_a_new_generation_forgets_the_old_failure() -> None:
    cluster = Cluster()
    cluster.add(CAUSES["message of the fetch"][0], revision=2)
    assert (await cluster.look(deployment(**counts(1, 1, 0)))).failure is not None
    (facts,) = await cluster.observer.observe([deployment(generation=2, **counts(1, 1, 0))], NOW)
    assert facts.failure is None


async def test_details_that_kubelet_drops_while_backing_off_are_kept() -> None:
    cluster = Cluster()
    found = deployment(**counts(1, 1, 0))
    cluster.add(pod(container("fetch", waiting("ErrImagePull", "sklearn:1: not found"))), revision=2)
    first = await cluster.look(found)
    cluster.kube.objects = {key: value for key, value in cluster.kube.objects.items() if key[0] is not POD}
    cluster.add(pod(container("fetch", waiting("ImagePullBackOff", 'Back-off pulling image "sklearn:1"'))), revision=2)
    assert await cluster.look(found) == first


async def test_events_are_read_only_for_a_pod_that_is_stuck_and_only_if_allowed() -> None:
    cluster = Cluster()
    cluster.add(pod(container("fetch", waiting("PodInitializing"))), revision=2)
    event = {"reason": "FailedMount", "note": "no such volume", "regarding": {"uid": "pod2"}}
    cluster.kube.put(EVENT, {"metadata": {"name": "e", "namespace": "team"}, **event})
    facts = await cluster.look(deployment(**counts(1, 1, 0)))
    assert facts.failure is not None
    assert facts.failure.message == "no such volume"
    cluster.kube.refuse = lambda _, kind, __: ForbiddenError("no", 403) if kind is EVENT else None
    assert (await cluster.look(deployment(**counts(1, 1, 0)), after=2.1)).failure is None
