"""Shares wanted and in force, mirrors, and what the Service of a ScoringService selects.

| situation                                          | expected                                                   |
|----------------------------------------------------|------------------------------------------------------------|
| any versions, any of them ready                    | shares in force add up to 100                              |
| some version has ready pods                        | none without ready pods gets anything                      |
| all ready                                          | what is wanted                                             |
| one not ready, the default is                      | the default has its share, the others keep theirs          |
| the default not ready                              | who was there before, else the others in proportion        |
| a second version comes                             | the Service moves when the router is ready, not before     |
| one version again                                  | the Service moves at once                                  |
| the only version is renamed                        | the old one answers until the new one is ready             |
| a rollout                                          | old and new share what is the default's; the others theirs |
| a version was rolled back                          | it gets nothing, also where no other one has ready pods    |
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.spec import Model, Version
from scoring_operator.traffic import (
    ROUTER,
    Live,
    Traffic,
    Trial,
    aimed_shares,
    plan_traffic,
    shares_in_force,
    traffic_text,
    wanted_shares,
)

IRIS = Model(uri="s3://models/iris/1/", framework="sklearn")


def versions(*specs: dict[str, Any]) -> tuple[Version, ...]:
    """Versions v1, v2, … with these fields; the first is the default unless another one says so."""
    chosen = next((number for number, spec in enumerate(specs) if spec.get("default")), 0)
    return tuple(
        Version(**{"name": f"v{number + 1}", "model": IRIS, **spec, "default": number == chosen})
        for number, spec in enumerate(specs)
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[tuple[Version, ...], set[str], tuple[str, ...]]:
    """Versions of a spec that keeps all rules, some of them ready, and versions that leave."""
    count = draw(st.integers(1, 6))
    default, rest, specs = draw(st.integers(0, count - 1)), 100, []
    for number in range(count):
        spec: dict[str, Any] = {"default": True} if number == default else {}
        if number != default and draw(st.booleans()):
            spec["mirror"] = draw(st.integers(0, 100))
        elif draw(st.booleans()):
            spec["traffic"] = draw(st.integers(0, rest))
            rest -= spec["traffic"]
        specs.append(spec)
    leaving = tuple(f"old{number}" for number in range(draw(st.integers(0, 2))))
    made = versions(*specs)
    ready = draw(st.sets(st.sampled_from([*(version.name for version in made), *leaving])))
    return made, ready, leaving


@given(situations())
def test_shares_add_up_and_go_where_pods_are(situation: tuple[tuple[Version, ...], set[str], tuple[str, ...]]) -> None:
    made, ready, leaving = situation
    wanted, shares = wanted_shares(made), shares_in_force(made, Live(ready, leaving))
    assert sum(wanted.values()) == sum(shares.values()) == 100
    assert min(wanted.values()) >= 0
    assert min(shares.values()) >= 0
    if ready:
        assert {name for name, share in shares.items() if share} <= ready
    if {version.name for version in made} <= ready:
        assert shares == {**wanted, **dict.fromkeys(leaving, 0)}


@given(situations())
def test_a_version_with_a_ready_default_never_gets_more_than_it_wants(
    situation: tuple[tuple[Version, ...], set[str], tuple[str, ...]],
) -> None:
    made, ready, leaving = situation
    (default,) = (version.name for version in made if version.default)
    wanted, shares = wanted_shares(made), shares_in_force(made, Live(ready | {default}, leaving))
    for version in made:
        if not version.default:
            assert shares[version.name] == (wanted[version.name] if version.name in ready else 0)
    assert not any(shares[name] for name in leaving)


@given(situations(), st.booleans(), st.booleans(), st.booleans(), st.data())
def test_a_plan_shows_what_holds(
    situation: tuple[tuple[Version, ...], set[str], tuple[str, ...]],
    router_ready: bool,
    lingers: bool,
    gateway: bool,
    data: st.DataObject,
) -> None:
    made, ready, leaving = situation
    names = [version.name for version in made]
    current = data.draw(st.sampled_from([None, ROUTER, "gone", *names, *leaving]))
    plan = plan_traffic(made, Live(ready, leaving, router_ready, lingers, current), gateway=gateway)
    assert sum(share.in_force for share in plan.shares) == sum(plan.weights.values()) == 100
    assert [share.version for share in plan.shares][: len(names)] == names
    assert plan.target in {ROUTER, *names, *leaving}
    if plan.target == ROUTER:
        assert plan.router
        assert {share.version: share.in_force for share in plan.shares if share.in_force} == plan.weights
    if ready and plan.target != ROUTER:
        assert plan.target in ready
    for name in plan.mirrors:
        assert name in ready
        assert name not in plan.weights
    assert not (gateway and (plan.router or plan.target == ROUTER))


@pytest.mark.parametrize(
    ("specs", "ready", "leaving", "shares"),
    [
        (({}, {"traffic": 10}), "v1 v2", (), {"v1": 90, "v2": 10}),
        (({"traffic": 30}, {"traffic": 10}), "v1 v2", (), {"v1": 90, "v2": 10}),
        (({"traffic": 20}, {"default": True}), "v1 v2", (), {"v1": 20, "v2": 80}),
        (({}, {"traffic": 10}, {"traffic": 20}), "v1 v3", (), {"v1": 80, "v2": 0, "v3": 20}),
        (({}, {"traffic": 10}, {"traffic": 20}), "v2 v3", (), {"v1": 0, "v2": 33, "v3": 67}),
        (({}, {"traffic": 10}), "v2", (), {"v1": 0, "v2": 100}),
        (({}, {}), "v2", (), {"v1": 0, "v2": 100}),
        (({}, {"mirror": 50}, {}), "v2 v3", (), {"v1": 0, "v2": 0, "v3": 100}),
        (({}, {"mirror": 50}), "v2", (), {"v1": 0, "v2": 100}),
        (({}, {"traffic": 10}), "v2 old", ("old",), {"v1": 0, "v2": 10, "old": 90}),
        (({}, {"traffic": 10}), "v1 old", ("old",), {"v1": 100, "v2": 0, "old": 0}),
        (({}, {"traffic": 10}), "", ("old",), {"v1": 100, "v2": 0, "old": 0}),
    ],
)
def test_shares(
    specs: tuple[dict[str, Any], ...], ready: str, leaving: tuple[str, ...], shares: dict[str, int]
) -> None:
    assert shares_in_force(versions(*specs), Live(ready.split(), leaving)) == shares


@given(situations(), st.integers(0, 100), st.booleans(), st.data())
def test_a_rollout_moves_only_what_is_the_defaults(
    situation: tuple[tuple[Version, ...], set[str], tuple[str, ...]], percent: int, barred: bool, data: st.DataObject
) -> None:
    made, ready, leaving = situation
    (new,) = (version.name for version in made if version.default)
    others = [version.name for version in made if version.name != new]
    if not others:
        return
    old = data.draw(st.sampled_from(others))
    trial = Trial(old, new, 0 if barred else percent, barred)
    wanted, aimed, shares = (
        wanted_shares(made),
        aimed_shares(made, trial),
        shares_in_force(made, Live(ready, leaving, trial=trial)),
    )
    assert sum(aimed.values()) == sum(shares.values()) == 100
    assert aimed[old] + aimed[new] == wanted[old] + wanted[new]
    assert {name: aimed[name] for name in others if name != old} == {n: wanted[n] for n in others if n != old}
    if {old, new} <= ready and not barred and percent > 0 and wanted[new]:
        assert abs(shares[new] - wanted[new] * percent / 100) <= 1
        assert shares[new] > 0
    if old in ready:
        assert shares[new] == (aimed[new] if new in ready else 0)
    if barred:
        assert shares[new] == 0


@pytest.mark.parametrize(
    ("specs", "ready", "trial", "text"),
    [
        (({}, {"default": True}), "v1 v2", Trial("v1", "v2", 5), "v1=95 (wants 0),v2=5 (wants 100)"),
        (({}, {"default": True}), "v1", Trial("v1", "v2", 25), "v1=100 (wants 0),v2=0 (wants 100)"),
        (({}, {"default": True}), "v2", Trial("v1", "v2", 25), "v1=0,v2=100"),
        (({}, {"default": True}), "v2", Trial("v1", "v2", 0, True), "v1=100 (wants 0),v2=0 (wants 100)"),
        (
            ({"traffic": 10}, {"default": True}, {"traffic": 20}),
            "v1 v2 v3",
            Trial("v1", "v2", 50),
            "v1=45 (wants 10),v2=35 (wants 70),v3=20",
        ),
    ],
)
def test_shares_of_a_rollout(specs: tuple[dict[str, Any], ...], ready: str, trial: Trial, text: str) -> None:
    live = Live(ready.split(), router_ready=True, target=ROUTER, trial=trial)
    assert traffic_text(plan_traffic(versions(*specs), live).shares) == text


def test_the_reasons_of_a_rollout() -> None:
    made = versions({}, {"default": True})
    live = Live(["v1", "v2"], router_ready=True, target=ROUTER, trial=Trial("v1", "v2", 5))
    assert [share.reason for share in plan_traffic(made, live).shares] == [
        "it has what v2 does not have",
        "its share grows step by step",
    ]
    live = Live(["v1", "v2"], router_ready=True, target=ROUTER, trial=Trial("v1", "v2", 0, barred=True))
    assert plan_traffic(made, live).share("v2").reason == "it was rolled back"


def plan(*specs: dict[str, Any], **live: Any) -> Traffic:
    return plan_traffic(versions(*specs), Live(**live))


TWO = ({}, {"traffic": 10})


@pytest.mark.parametrize(
    ("specs", "live", "target"),
    [
        pytest.param(({},), {}, "v1", id="a new service"),
        pytest.param(TWO, {}, "v1", id="a new service with two versions"),
        pytest.param(TWO, {"ready": ["v1", "v2"], "target": "v1"}, "v1", id="no router yet"),
        pytest.param(TWO, {"ready": ["v1", "v2"], "target": "v1", "router_ready": True}, ROUTER, id="router ready"),
        pytest.param(TWO, {"ready": ["v1", "v2"], "target": ROUTER}, "v1", id="no router any more"),
        pytest.param(TWO, {"target": ROUTER}, ROUTER, id="nothing is ready"),
        pytest.param(({},), {"ready": ["v1"], "target": ROUTER, "router_ready": True}, "v1", id="one version again"),
        pytest.param(
            ({},), {"ready": ["old"], "target": "old", "leaving": ("old",)}, "old", id="renamed, the new one not ready"
        ),
        pytest.param(
            ({},), {"ready": ["v1", "old"], "target": "old", "leaving": ("old",)}, "v1", id="renamed, and ready"
        ),
        pytest.param(({}, {"default": True}), {"ready": ["v1", "v2"], "target": "v1"}, "v1", id="promoted meanwhile"),
    ],
)
def test_what_the_service_selects(specs: tuple[dict[str, Any], ...], live: dict[str, Any], target: str) -> None:
    assert plan(*specs, **live).target == target


def test_a_router_is_there_as_long_as_it_is_needed_or_called() -> None:
    assert not plan({}).router
    assert plan(*TWO).router
    assert plan({}, {}).router, "a version without a share is reached by its name"
    assert plan({}, router_lingers=True).router


@pytest.mark.parametrize(
    ("specs", "live", "text"),
    [
        (TWO, {"ready": ["v1", "v2"], "router_ready": True}, "v1=90,v2=10"),
        (TWO, {"ready": ["v1"], "router_ready": True}, "v1=100 (wants 90),v2=0 (wants 10)"),
        (TWO, {"ready": ["v1", "v2"]}, "v1=100 (wants 90),v2=0 (wants 10)"),
        (({}, {"mirror": 20}), {"ready": ["v1", "v2"], "router_ready": True}, "v1=100,v2=0 (mirror 20)"),
        (({}, {"mirror": 20}), {"ready": ["v1"], "router_ready": True}, "v1=100,v2=0 (mirror 20 waits)"),
        (({},), {"ready": ["old"], "leaving": ("old",), "target": "old"}, "v1=0 (wants 100),old=100 (wants 0)"),
    ],
)
def test_the_column(specs: tuple[dict[str, Any], ...], live: dict[str, Any], text: str) -> None:
    assert traffic_text(plan(*specs, **live).shares) == text


def test_every_difference_has_its_reason() -> None:
    made = plan(*TWO, {"mirror": 5}, ready=["v1"], router_ready=True)
    assert [share.reason for share in made.shares] == [
        "it answers for versions without ready pods",
        "its share of the traffic waits for ready pods",
        "nothing is mirrored to it until it has ready pods",
    ]
    alone = plan(*TWO, {"mirror": 5}, ready=["v1", "v2", "v3"])
    assert {share.reason for share in alone.shares} == {"the shares wait for the router to be ready"}
    assert {share.reason for share in plan(*TWO, ready=["v1", "v2"], router_ready=True).shares} == {""}
