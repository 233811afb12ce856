"""The operator is killed in every phase of what takes it a while, and the end is that of a run without a death.

Each case is gone through twice, undisturbed first. Phases are seen by a watch, so that none is missed.

case                                          killed
a good version is promoted                    while it waits for its pods, at each step, when it is promoted
a bad one is rolled back                      while it waits, while it is judged, when it was rolled back
pause, resume, pause at a step, abort         at each of them; the next edit comes while nobody looks
load comes and goes, sleep, wake              when the load changes, and when the number of pods has changed
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.cluster import Namespace, Operator, eventually
from tests.e2e.test_autoscaling import FOUR_PODS, ROW, replicas, requests_at_a_time
from tests.e2e.test_autoscaling import spec as scaled
from tests.e2e.test_lifecycle import settled
from tests.e2e.test_rollout import PHASE, phases_in, rollout, spec, under_load
from tests.e2e.test_serving import eventually_answered
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ENDED = ("Promoted", "RolledBack")
CHILDREN = "deployments,services,configmaps,ingresses,serviceaccounts,networkpolicies,poddisruptionbudgets"


def children(namespace: Namespace, name: str) -> dict[str, Any]:
    """What was asked for in each child of the service, without the addresses that a new Service is given."""
    listed = namespace.get(CHILDREN, "-l", f"scoring.dev/service={name}")["items"]
    for found in listed:
        for given in ("clusterIP", "clusterIPs"):
            found.get("spec", {}).pop(given, None)
    return {
        f"{found['kind']}/{found['metadata']['name']}": {
            "labels": found["metadata"].get("labels"),
            **{key: found[key] for key in ("spec", "data", "rules") if key in found},
        }
        for found in listed
    }


def status(namespace: Namespace, name: str) -> dict[str, Any]:
    """The status without times, counts and what is told of the load at the moment."""
    found = namespace.get("scoringservice", name)["status"]
    conditions = {c["type"]: (c["status"], c["reason"]) for c in found.pop("conditions")}
    for passing in ("observedGeneration", "message", "load"):
        found.pop(passing, None)
    ended = found.pop("rollout", {})
    for version in found["versions"]:
        version.pop("utilization", None)
    kept = ("phase", "reason", "from", "to", "share", "versionHash", "planHash")
    return {**found, "conditions": conditions, "rollout": {key: ended.get(key) for key in kept}}


def end(namespace: Namespace, name: str) -> dict[str, Any]:
    return {"children": children(namespace, name), "status": status(namespace, name)}


Walk = Callable[[bool], list[str]]
"""Goes through a case, killing the operator at every phase or not; tells the phases it saw."""


def same_end(namespace: Namespace, name: str, walk: Walk) -> list[str]:
    """Walk undisturbed, then with deaths: the phases and the end have to be the same. Returns the phases."""
    phases = walk(False)
    eventually(lambda: stalled_or_ready(namespace, name))
    undisturbed = end(namespace, name)
    assert walk(True) == phases
    eventually(lambda: stalled_or_ready(namespace, name))
    with suppress(AssertionError):  # which says less than the next line
        eventually(lambda: end(namespace, name) == undisturbed)
    assert end(namespace, name) == undisturbed
    return phases


def stalled_or_ready(namespace: Namespace, name: str) -> bool:
    """Whether nothing more happens by itself."""
    service = namespace.get("scoringservice", name)
    told = service.get("status", {})
    current = told.get("observedGeneration") == service["metadata"]["generation"]
    conditions = {c["type"]: c["status"] for c in told.get("conditions", [])}
    return current and "True" in (conditions.get("Ready"), conditions.get("Stalled"))


@contextmanager
def between_rollouts(namespace: Namespace, iris: dict) -> Iterator[Callable[[], None]]:
    """A service whose version `old` has proved itself, under load; the result brings it back there."""

    def back() -> None:
        namespace.apply("proving", spec(namespace, iris, "old", "old", "spare"))
        settled(namespace, "proving")
        eventually(lambda: len(namespace.get("deployments")["items"]) == 3, what="old, spare and the router are left")

    back()
    with under_load(namespace):
        yield back


def phases_of(namespace: Namespace, to: str, apply: Callable[[], None]) -> Iterator[str]:
    """Begin a rollout by `apply`, and give its phases with the share, each as soon as a watch tells of it."""
    with namespace.watching("scoringservice/proving", PHASE) as noted:
        apply()
        given, phase = 0, ""
        while not phase.startswith(ENDED):
            phase = eventually(lambda after=given: phases_in(noted(), to)[after:], what=f"what follows on {phase!r}")[0]
            given += 1
            yield phase


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("good", ["Waiting 0", "Progressing 20", "Progressing 50", "Progressing 100", "Promoted 100"]),
        ("failing", ["Waiting 0", "Progressing 20", "RolledBack 0"]),
    ],
)
def test_a_rollout(namespace: Namespace, iris: dict, operator: Operator, to: str, expected: list[str]) -> None:
    with between_rollouts(namespace, iris) as back:

        def walk(deadly: bool) -> list[str]:
            back()
            seen = []
            begin = spec(namespace, iris, to, "old", "spare", to)
            for phase in phases_of(namespace, to, lambda: namespace.apply("proving", begin)):
                seen.append(phase)
                if deadly:
                    operator.kill()
            return seen

        assert same_end(namespace, "proving", walk) == expected
    assert operator.restarts() == 0


def test_a_rollout_that_is_held_and_aborted(namespace: Namespace, iris: dict, operator: Operator) -> None:
    def edit(**rollout: Any) -> None:
        fields = {"steps": [20, 100], "intervalSeconds": 1800, **rollout}
        namespace.apply("proving", spec(namespace, iris, "good", "old", "spare", "good", **fields))

    edits: dict[str, Callable[[], None]] = {
        "Paused 0": edit,
        "Progressing 20": lambda: edit(action="Pause"),
        "Paused 20": lambda: edit(action="Abort", version="good"),
    }
    with between_rollouts(namespace, iris) as back:

        def walk(deadly: bool) -> list[str]:
            back()
            seen = []
            for phase in phases_of(namespace, "good", lambda: edit(action="Pause")):
                seen.append(phase)
                if deadly:
                    operator.kill()
                edits.get(phase, lambda: None)()
            return seen

        expected = ["Paused 0", "Waiting 0", "Progressing 20", "Paused 20", "RolledBack 0"]
        assert same_end(namespace, "proving", walk) == expected
        assert rollout(namespace)["reason"] == "Asked"
    assert operator.restarts() == 0


def test_load_that_comes_and_goes(namespace: Namespace, iris: dict, operator: Operator) -> None:
    bounds = {"minReplicas": 0, "maxReplicas": 4, "holdSeconds": 180}
    awake, sleepy = (scaled(namespace, iris, autoscaling={**bounds, "idleSeconds": idle}) for idle in (600, 15))
    namespace.deploy("scaled", awake)
    client = replace(namespace.client("scaled"), timeout_seconds=PATIENCE)
    eventually_answered(client, ROW)

    def becomes(number: int, deadly: bool) -> list[str]:
        """The numbers of pods that are asked for, until it is this one."""
        with namespace.watching("deployment/scaled-default", "{.spec.replicas}") as noted:
            if deadly:
                operator.kill()
            eventually(lambda: replicas(namespace) == number, what=f"{number} pods are asked for")
            if deadly:
                operator.kill()
            eventually(lambda: stalled_or_ready(namespace, "scaled"))
            return [number for number, _ in itertools.groupby(noted())]

    def walk(deadly: bool) -> list[str]:
        namespace.apply("scaled", awake)
        with requests_at_a_time(client, FOUR_PODS) as statuses:
            up = becomes(4, deadly)
        down = becomes(1, deadly)
        namespace.apply("scaled", sleepy)
        sleep = becomes(0, deadly)
        with requests_at_a_time(client, 1) as woken:
            wake = becomes(1, deadly)
        assert (up, down) == (sorted(up), sorted(down, reverse=True)), "never to and fro"
        assert (sleep, wake) == (sorted(sleep, reverse=True), sorted(wake)), "never to and fro"
        assert set(statuses) | set(woken) == {200}
        return [up[-1], down[-1], sleep[-1], wake[-1]]

    assert same_end(namespace, "scaled", walk) == ["4", "1", "0", "1"]
    assert operator.restarts() == 0
