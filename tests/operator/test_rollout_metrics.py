"""What Prometheus is told about rollouts, over whole passes.

| situation                             | what is expected                                                        |
|---------------------------------------|-------------------------------------------------------------------------|
| a rollout begins, goes on, ends       | phase and shares; requests and errors of both versions; the end, once   |
| the routers are asked again           | nothing is counted twice                                                |
| the status cannot be written          | the end is counted when it stands there                                 |
| another operator                      | phase and shares at once; an end of before is not counted again         |
| the next rollout                      | the series of the versions of the one before are gone                   |
| no rollout any more, or no service    | no series                                                               |
"""

from prometheus_client.parser import text_string_to_metric_families

from scoring_operator.kinds import SCORING_SERVICE
from scoring_operator.kube import ApiUnavailableError
from tests.operator.test_reconcile_rollout import LIMITS, PLAN, Service, trial
from tests.operator.test_reconcile_versions import version

PREFIX = "scoring_operator_rollout"


def series(world: Service) -> dict[str, dict[str, float]]:
    """Metric → the values of this service by its last label, which is a version, a phase or a result."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(world.loop._metrics.exposition().decode()):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                labels = dict(sample.labels)
                assert (labels.pop("namespace"), labels.pop("service")) == ("team", "iris")
                (value,) = labels.values()
                found.setdefault(sample.name.removeprefix(PREFIX).strip("_"), {})[value] = sample.value
    return found


def phase(world: Service) -> str:
    """The one phase that holds."""
    (found,) = (name for name, holds in series(world)["phase"].items() if holds)
    return found


async def test_a_rollout_is_told_from_its_beginning_to_its_end() -> None:
    world = await trial()
    assert phase(world) == "Progressing"
    assert set(series(world)["phase"]) == {"Waiting", "Progressing", "Paused", "Promoted", "RolledBack"}
    assert series(world)["share_ratio"] == {"v1": 0.95, "v2": 0.05}
    assert series(world)["requests_total"] == {"v1": 0, "v2": 0}
    assert series(world)["s_ended_total"] == {"Promoted": 0, "RolledBack": 0}
    await world.passes(1)
    await world.passes(30, 40)
    await world.passes(1)
    assert series(world)["requests_total"] == {"v1": 40, "v2": 40}
    assert series(world)["errors_total"] == {"v1": 0, "v2": 0}
    await world.passes(30, 60, errors=30)
    assert phase(world) == "RolledBack"
    assert series(world)["share_ratio"] == {"v1": 1, "v2": 0}
    assert series(world)["requests_total"] == {"v1": 100, "v2": 100}
    assert series(world)["errors_total"] == {"v1": 0, "v2": 30}
    assert series(world)["s_ended_total"] == {"Promoted": 0, "RolledBack": 1}
    await world.passes(600)
    assert series(world)["s_ended_total"]["RolledBack"] == 1

    await world.promote(action="Promote", version="v2")
    assert phase(world) == "Promoted"
    assert series(world)["s_ended_total"] == {"Promoted": 1, "RolledBack": 1}


async def test_an_end_counts_when_it_stands_in_the_status() -> None:
    world = await trial()
    await world.passes(1)
    error = ApiUnavailableError("the server is gone", 503)
    world.kube.refuse = lambda method, kind, _: error if kind is SCORING_SERVICE and method != "list" else None
    for pod in world.pods.values():
        pod.answers["v2", 5] += 100
    world.later(30)
    assert await world.again() != []
    assert series(world)["errors_total"]["v2"] == 200
    assert series(world)["s_ended_total"]["RolledBack"] == 0
    world.kube.refuse = lambda *_: None
    await world.passes(1)
    assert series(world)["errors_total"]["v2"] == 200
    assert series(world)["s_ended_total"]["RolledBack"] == 1


async def test_another_operator_tells_what_stands_in_the_status() -> None:
    world = await trial()
    await world.passes(1)
    await world.passes(30, 100, errors=50)
    world.start()
    await world.settle()
    assert phase(world) == "RolledBack"
    assert series(world)["share_ratio"] == {"v1": 1, "v2": 0}
    assert series(world)["s_ended_total"] == {"Promoted": 0, "RolledBack": 0}


async def test_series_go_with_what_they_are_about() -> None:
    world = await trial()
    await world.passes(1)
    await world.passes(30, 10)
    await world.promote(action="Promote", version="v2")
    versions = [version("v1"), version("v2"), version("v3", default=True)]
    world.service(model=None, versions=versions, rollout={**PLAN, "analysis": LIMITS})
    await world.settle()
    assert phase(world) == "Waiting"
    for name in ("share_ratio", "requests_total", "errors_total"):
        assert set(series(world)[name]) == {"v2", "v3"}
    assert series(world)["s_ended_total"]["Promoted"] == 1

    world.service(model=None, versions=versions)
    await world.settle()
    assert set(series(world)) == {"s_ended_total"}
    world.kube.remove(SCORING_SERVICE, "team", "iris")
    await world.settle()
    assert series(world) == {}
