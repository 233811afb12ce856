"""A rollout together with autoscaling, on a real cluster.

case                                           expected
both versions sleep, then the rollout begins   both wake for it; nobody waits for a start
under load                                     the new version's pods follow its share; the old one keeps its own
after the end                                  the old version sleeps, since nobody calls it; later the new one too
"""

from typing import Any

import pytest

from tests.e2e.cluster import Namespace, Operator, eventually
from tests.e2e.test_autoscaling import ROW, SLOTS, requests_at_a_time, say, told
from tests.e2e.test_lifecycle import settled
from tests.e2e.test_rollout import PHASE, phases_in
from tests.e2e.test_serving import eventually_answered

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BOUNDS = {"minReplicas": 0, "maxReplicas": 4, "idleSeconds": 20, "holdSeconds": 180}
EIGHT = 8
"""Requests at a time: three pods' worth, 8 / (0.7 * 4 slots) = 2.9."""
LIMITS = {"maxErrorPercent": 0, "maxP99Milliseconds": 30_000, "minRequests": 50}
PLAN = {"steps": [50, 100], "intervalSeconds": 15, "analysis": LIMITS}


def spec(namespace: Namespace, iris: dict, default: str) -> dict[str, Any]:
    """A service of two versions of a model that takes a fifth of a second; one of them is the default."""
    model = {**iris["model"], "uri": "s3://models/slow/"}
    versions = [{"name": name, "model": model, "default": name == default} for name in ("old", "new")]
    settings = {"maxConcurrent": SLOTS, "maxQueueWaitMilliseconds": 60_000}
    rest = {key: value for key, value in iris.items() if key != "model"}
    return namespace.published(
        {**rest, "requestSettings": settings, "autoscaling": BOUNDS, "versions": versions, "rollout": PLAN}
    )


def pods(namespace: Namespace) -> tuple[int, int]:
    """The pods that are asked for: of the old version, of the new one."""
    found = (namespace.get("deployment", f"scaled-{name}")["spec"]["replicas"] for name in ("old", "new"))
    old, new = map(int, found)
    return old, new


def test_a_rollout_wakes_scales_and_lets_sleep(namespace: Namespace, iris: dict, operator: Operator) -> None:
    namespace.deploy("scaled", spec(namespace, iris, "old"))
    client = namespace.client("scaled")
    eventually_answered(client, ROW)
    eventually(lambda: pods(namespace) == (0, 0), what="both sleep")

    with namespace.watching("scoringservice/scaled", PHASE) as rollout:
        namespace.apply("scaled", spec(namespace, iris, "new"))
        eventually(lambda: phases_in(rollout(), "new")[:2] == ["Waiting 0", "Progressing 50"])
    assert min(pods(namespace)) >= 1
    assert "neither version sleeps during the rollout to new" in told(namespace, "ScaledUp")

    with (
        namespace.watching("deployment/scaled-old", "{.spec.replicas}") as noted,
        requests_at_a_time(client, EIGHT) as statuses,
    ):
        eventually(lambda: namespace.get("scoringservice", "scaled")["status"]["stableVersion"] == "new")
        during = [int(number) for number in noted()]
        say(f"the old version's pods during the rollout: {during}; the new one's at its end: {pods(namespace)[1]}")
        assert during == sorted(during), "it loses none while the new one is on trial"
        assert pods(namespace)[1] >= 3
        settled(namespace, "scaled")
        eventually(lambda: pods(namespace)[0] == 0, what="the old version sleeps while the new one works")
    assert set(statuses) == {200}

    eventually(lambda: pods(namespace) == (0, 0), what="the new version sleeps too")
    eventually(lambda: namespace.condition("scaled", "Ready").get("status") == "True")
    assert operator.restarts() == 0
