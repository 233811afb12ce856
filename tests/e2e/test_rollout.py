"""New default versions that prove themselves on real requests, on a real cluster.

case                                         expected
one request in ten fails; all are slow       rolled back at the first step, with reason, Event and who met it
a good one; the operator dies at a step      every step in its turn, then everything
pause, promote, abort                        the share stays; everything at once; nothing
"""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, Operator, eventually
from tests.e2e.test_lifecycle import load, settled
from tests.e2e.test_serving import FLOWERS, eventually_answered

pytestmark = pytest.mark.e2e

LIMITS = {"maxErrorPercent": 1, "maxP99Milliseconds": 30_000, "minRequests": 10}
"""A good version keeps them on any machine: a request that takes a while is nothing to judge it by."""
PLAN = {"steps": [20, 50, 100], "intervalSeconds": 5, "analysis": LIMITS}
PHASE = "{.status.rollout.to} {.status.rollout.phase} {.status.rollout.share}"
"""What a watch of a service notes."""
FAULTS = {"failing": {"FAIL_AT_EVERY": "10"}, "slow": {"ANSWER_AFTER_SECONDS": "1"}}


def spec(namespace: Namespace, iris: dict, default: str, *names: str, **rollout: Any) -> dict[str, Any]:
    """A service with these versions, all of one model, whose faults are in the environment of the pods."""
    model = {**iris["model"], "uri": "s3://models/unsteady/"}
    versions = []
    for name in names:
        env = [{"name": key, "value": value} for key, value in FAULTS.get(name, {}).items()]
        versions.append({"name": name, "model": model, "default": name == default, "pod": {"env": env}})
    rest = {key: value for key, value in iris.items() if key != "model"}
    return namespace.published({**rest, "versions": versions, "rollout": {**PLAN, **rollout}})


def rollout(namespace: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = namespace.get("scoringservice", "proving").get("status", {}).get("rollout", {})
    return found


def ended(namespace: Namespace, to: str) -> dict[str, Any]:
    """The rollout to a version, once it has ended."""

    def done() -> dict[str, Any] | None:
        found = rollout(namespace)
        return found if found.get("to") == to and found["phase"] in ("Promoted", "RolledBack") else None

    found: dict[str, Any] = eventually(done, what=f"the rollout to {to} ends; it is {rollout(namespace)}")
    return found


def phases_in(lines: list[str], to: str) -> list[str]:
    """The phases of the rollout to this version, each once in a row."""
    phases = [line.removeprefix(f"{to} ") for line in lines if line.startswith(f"{to} ")]
    return [phase for phase, _ in itertools.groupby(phases)]


def steps(namespace: Namespace, to: str) -> list[str]:
    """The shares that a version had, by the Events about it, without repetitions."""
    events = [event for event in namespace.get("events")["items"] if event["reason"] == "RolloutStep"]
    notes = [event["message"] for event in sorted(events, key=lambda event: str(event.get("eventTime")))]
    shares = [note.split(f"{to} has ")[1].split()[0] for note in notes if f"{to} has " in note]
    return list(dict.fromkeys(shares))


@contextmanager
def proving(namespace: Namespace, iris: dict, *names: str) -> Iterator[IngressClient]:
    """A service whose first version is the proven one, under load for as long as the block lasts."""
    namespace.deploy("proving", spec(namespace, iris, names[0], *names))
    with under_load(namespace) as client:
        yield client


@contextmanager
def under_load(namespace: Namespace) -> Iterator[IngressClient]:
    """Requests to the service for as long as the block lasts; most are answered, as the proven version does."""
    client = namespace.client("proving")
    eventually_answered(client, FLOWERS)
    with load(client) as statuses:
        yield client
    assert set(statuses) <= {200, 500}
    assert statuses.count(200) > len(statuses) / 2


def test_bad_versions_are_rolled_back_and_a_good_one_is_promoted(
    namespace: Namespace, iris: dict, operator: Operator, record_property: Callable[[str, object], None]
) -> None:
    names = ("old", "failing", "slow", "good")
    with proving(namespace, iris, *names):
        for bad, field, value in (("failing", "maxErrorPercent", 1), ("slow", "maxP99Milliseconds", 400)):
            limit = f"analysis.{field}: {value}"
            namespace.apply("proving", spec(namespace, iris, bad, *names, analysis={**LIMITS, field: value}))
            found = ended(namespace, bad)
            assert (found["phase"], found["reason"]) == ("RolledBack", "JudgedBad")
            assert limit in found["message"]
            assert steps(namespace, bad) == ["20"]
            assert 0 < found["met"]["requests"] < found["met"]["of"]
            record_property(f"met {bad}, percent", round(100 * found["met"]["requests"] / found["met"]["of"], 1))
            service = namespace.wait_reason("proving", "RolledBack")
            assert service["status"]["stableVersion"] == "old"
            assert "old=100 (wants 0)" in service["status"]["traffic"]
            assert namespace.condition("proving", "Stalled")["status"] == "True"
            assert limit in namespace.run("get", "scoringservices", "-o", "wide").stdout
            reasons = [event["reason"] for event in namespace.get("events")["items"] if event["type"] == "Warning"]
            assert "RolledBack" in reasons

        with namespace.watching("scoringservice/proving", PHASE) as noted:
            namespace.apply("proving", spec(namespace, iris, "good", *names))
            eventually(lambda: "Progressing 20" in phases_in(noted(), "good"))
            operator.stop()
            operator.start()
            assert ended(namespace, "good")["phase"] == "Promoted"
            progress = ["Progressing 20", "Progressing 50", "Progressing 100", "Promoted 100"]
            assert [phase for phase in phases_in(noted(), "good") if phase != "Waiting 0"] == progress
        service = settled(namespace, "proving")
        assert service["status"]["traffic"] == "old=0,failing=0,slow=0,good=100"
        assert service["status"]["stableVersion"] == "good"


@pytest.mark.slow
def test_pause_promote_and_abort(namespace: Namespace, iris: dict) -> None:
    names = ("old", "new", "newer")
    with proving(namespace, iris, *names) as client:
        namespace.apply("proving", spec(namespace, iris, "new", *names, action="Pause"))
        eventually(lambda: rollout(namespace).get("phase") == "Paused")
        namespace.apply("proving", spec(namespace, iris, "new", *names, steps=[30, 100], intervalSeconds=1800))
        eventually(lambda: rollout(namespace).get("share") == 30)
        namespace.apply("proving", spec(namespace, iris, "new", *names, steps=[30, 100], action="Pause"))
        eventually(lambda: rollout(namespace).get("phase") == "Paused")
        eventually(lambda: rollout(namespace)["candidate"]["requests"] > 100)
        assert (rollout(namespace)["phase"], rollout(namespace)["share"]) == ("Paused", 30)
        assert namespace.condition("proving", "Ready")["reason"] == "RolloutPaused"

        namespace.apply("proving", spec(namespace, iris, "new", *names, action="Promote", version="new"))
        assert ended(namespace, "new")["reason"] == "Asked"
        settled(namespace, "proving")
        eventually(lambda: {client.score(FLOWERS).headers["scoring-version"] for _ in range(20)} == {"new"})

        namespace.apply("proving", spec(namespace, iris, "newer", *names, action="Abort", version="newer"))
        assert ended(namespace, "newer")["phase"] == "RolledBack"
        namespace.wait_reason("proving", "RolledBack")
        assert steps(namespace, "newer") == []
        namespace.apply("proving", spec(namespace, iris, "newer", *names, action="Promote", version="new"))
        assert ended(namespace, "newer")["phase"] == "Promoted", json.dumps(rollout(namespace))
