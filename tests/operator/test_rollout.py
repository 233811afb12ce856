"""The rollout of a new default version, as a function of numbers and time.

| situation                                          | expected                                                       |
|----------------------------------------------------|----------------------------------------------------------------|
| any requests, pods, actions, and deaths of the operator | each step in its turn, an end, nothing after a rollback    |
| every request answered well                        | all steps, at their intervals, then promoted                   |
| one in ten fails; all are slow                     | rolled back at the first step, seen by few                     |
| no limits                                          | the old version is the measure                                 |
| too few requests, or no ready pods                 | it waits, and is rolled back at the deadline                   |
| Pause, Abort, Promote, for this version or another | the share stays; none; all                                     |
| the old version left the spec                      | the new one has everything at once, and the status says why    |
| a status is written and read                       | the same rollout                                               |
"""

import datetime as dt
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.rollout import (
    Counts,
    Measured,
    Met,
    Phase,
    Record,
    Situation,
    State,
    Why,
    advance,
    next_look,
    read_record,
    record_status,
)
from scoring_operator.spec import Analysis, Rollout, RolloutAction

BEGIN = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
LIMITS = Analysis(max_error_percent=1, max_p99_milliseconds=250, min_requests=50)
PLAN = Rollout(analysis=LIMITS)
BOTH = {"v1": "hash-1", "v2": "hash-2"}
FAST = {10.0: 1, 250.0: 0, 500.0: 0, float("inf"): 0}
SLOW = {10.0: 0, 250.0: 0, 500.0: 1, float("inf"): 0}


def situation(plan: Rollout | None = PLAN, default: str = "v2", **changes: Any) -> Situation:
    return replace(Situation(BOTH, default, plan, ready={"v1", "v2"}, split=True), **changes)


def counts(requests: int, errors: int = 0, latency: dict[float, int] = FAST) -> Counts:
    return Counts(requests, errors, {bound: requests * here for bound, here in latency.items()})


def measured(new: Counts, old: Counts | None = None, since: dt.datetime = BEGIN, **fields: Any) -> Measured:
    return Measured(since, new, old or Counts(), Met(new.requests, new.errors, 10 * new.requests), **fields)


def later(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


def first_step(plan: Rollout = PLAN) -> State:
    state = advance(Record("v1"), situation(plan), None, BEGIN).state
    assert state is not None
    return state


def after(seconds: float, seen: Measured | None, plan: Rollout = PLAN, **changes: Any) -> State:
    """The state some time into the first step."""
    state = advance(Record("v1", first_step(plan)), situation(plan, **changes), seen, later(seconds)).state
    assert state is not None
    return state


@dataclass
class Service:
    """A service under load: at each second its versions answer, and the operator looks now and then."""

    plan: Rollout
    rate: int = 100
    failing: float = 0.0
    slow: float = 0.0
    seconds: int = 0
    record: Record = field(default_factory=lambda: Record("v1"))
    history: list[State] = field(default_factory=list)
    shares: list[int] = field(default_factory=list)
    met: Met = field(default_factory=Met)

    def run(self, limit: int = 3600) -> "Service":
        """Until the rollout has ended."""
        chance = random.Random(7)
        new, old, since, fresh = Counts(), Counts(), BEGIN, Met()
        while self.seconds < limit:
            share = self.record.share or 0
            for _ in range(self.rate):
                if chance.random() * 100 < share:
                    bad, late = chance.random() < self.failing, chance.random() < self.slow
                    new = new.plus(counts(1, int(bad), SLOW if late else FAST))
                    fresh = Met(fresh.requests + 1, fresh.errors + bad, fresh.of + 1)
                else:
                    old, fresh = old.plus(counts(1)), replace(fresh, of=fresh.of + 1)
            self.seconds += 1
            now = later(self.seconds)
            before = self.record.state
            self.record = advance(self.record, situation(self.plan), Measured(since, new, old, fresh), now)
            fresh, state = Met(), self.record.state
            assert state is not None
            if before is None or before.since != state.since:
                new, since = Counts(), now
                self.history.append(state)
            if state.phase.ended:
                self.met = state.met
                return self
        raise AssertionError("the rollout does not end")


def test_a_good_version_ends_with_everything() -> None:
    service = Service(PLAN).run()
    assert [state.share for state in service.history] == [5, 25, 50, 100, 100]
    assert [state.phase for state in service.history] == [Phase.PROGRESSING] * 4 + [Phase.PROMOTED]
    assert service.record.stable == "v2"
    assert service.seconds == pytest.approx(4 * 60, abs=6)
    assert service.record.state is not None
    assert service.record.state.why is Why.JUDGED_GOOD


@pytest.mark.parametrize(
    ("fault", "says"),
    [({"failing": 0.1}, "analysis.maxErrorPercent: 1"), ({"slow": 1.0}, "analysis.maxP99Milliseconds: 250")],
)
def test_a_bad_version_is_rolled_back_soon_and_seen_by_few(fault: dict[str, float], says: str) -> None:
    service = Service(PLAN, **fault).run()
    assert [state.share for state in service.history] == [5, 0]
    state = service.record.state
    assert state is not None
    assert (state.phase, state.why, service.record.stable) == (Phase.ROLLED_BACK, Why.JUDGED_BAD, "v1")
    assert says in state.message
    needed = PLAN.analysis.min_requests / (service.rate * 0.05)
    assert service.seconds <= 2 * needed + PLAN.interval_seconds
    assert 0 < service.met.percent < 10
    assert f"{service.met.requests} of {service.met.of} requests met it" in state.message


PLANS = st.builds(
    Rollout,
    steps=st.sets(st.integers(1, 99), max_size=4).map(lambda steps: (*sorted(steps), 100)),
    interval_seconds=st.just(30),
    deadline_seconds=st.just(120),
    analysis=st.builds(
        Analysis, st.sampled_from([None, 0, 1.5]), st.sampled_from([None, 250]), st.integers(min_value=1, max_value=80)
    ),
)


@given(PLANS, st.integers(), st.sampled_from([0.0, 0.01, 0.5]))
def test_whatever_happens_it_goes_step_by_step_and_ends(plan: Rollout, seed: int, failing: float) -> None:
    chance = random.Random(seed)
    record, seconds, given_shares = Record("v1"), 0, [0]
    while record.state is None or not record.state.phase.ended:
        seconds += chance.randint(1, 40)
        assert seconds < 200 * (1 + len(plan.steps)), "it does not end"
        record = looked(record, plan, chance, (seconds, failing))
        assert record.state is not None
        if record.state.share != given_shares[-1]:
            given_shares.append(record.state.share)
    state = record.state
    up = tuple(share for share in given_shares if share)
    assert up == plan.steps[: len(up)]
    if state.phase is Phase.PROMOTED:
        assert (record.stable, up) == ("v2", plan.steps)
        return
    for more in range(4):
        assert (record.stable, record.share) == ("v1", 0)
        record = advance(record, situation(plan), measured(counts(1000)), later(seconds + 10_000 * more))


def looked(record: Record, plan: Rollout, chance: random.Random, world: tuple[int, float]) -> Record:
    """The record after a look at whatever there is, by an operator that may be another one by now."""
    seconds, failing = world
    requests = chance.randint(0, 100)
    errors = sum(chance.random() < failing for _ in range(requests))
    since = later(chance.choice([0, 0, chance.randint(0, seconds)]))
    seen = measured(counts(requests, errors), counts(chance.randint(0, 1000)), since)
    here = situation(plan, ready=chance.choice([("v1", "v2"), ("v1", "v2"), ("v2",), ("v1",), ()]))
    return advance(read_record(record_status(record)), here, chance.choice([seen, seen, None]), later(seconds))


def test_nothing_is_concluded_too_early() -> None:
    assert after(59, measured(counts(500))).share == 5
    assert after(60, measured(counts(500))).share == 25
    assert after(60, measured(counts(49))).share == 5
    assert after(600, measured(counts(49, 49))).phase is Phase.PROGRESSING
    assert after(60, measured(counts(500)), ready={"v1"}).share == 5
    assert after(60, measured(counts(500), since=later(30))).share == 5, "an operator that saw half of the interval"
    assert after(60, None).share == 5


def test_limits_are_literal_at_the_end_and_certain_before() -> None:
    two_percent = measured(counts(100, 2))
    assert after(30, two_percent).phase is Phase.PROGRESSING
    assert after(60, two_percent).phase is Phase.ROLLED_BACK
    assert after(60, measured(counts(100, 1))).share == 25
    assert after(1, measured(counts(100, 20))).phase is Phase.ROLLED_BACK
    slow = counts(98).plus(counts(2, 0, SLOW))
    assert after(30, measured(slow)).phase is Phase.PROGRESSING
    assert "the p99 of 100 requests is" in after(60, measured(slow)).message


def test_without_limits_the_old_version_is_the_measure() -> None:
    plan = Rollout(analysis=Analysis(min_requests=50))
    as_bad = measured(counts(200, 20), counts(2000, 200))
    assert after(60, as_bad, plan).share == 25
    worse = after(60, measured(counts(200, 20), counts(2000, 2)), plan)
    assert (worse.phase, worse.share) == (Phase.ROLLED_BACK, 0)
    assert "10 % of 200 requests failed, and 0.1 % of the old version's 2000" in worse.message
    slower = after(60, measured(counts(200, 0, SLOW), counts(2000)), plan)
    assert "and the old version's 10 ms" in slower.message
    assert after(60, measured(counts(200, 0, SLOW), counts(2000, 0, SLOW)), plan).share == 25
    unknown = after(60, measured(counts(200, 20), counts(3)), plan)
    assert unknown.share == 25, "nothing to compare with, and no limit"


def test_the_old_versions_numbers_outlive_the_operator() -> None:
    plan = Rollout(analysis=Analysis(min_requests=50))
    state = after(30, measured(counts(40), counts(2000, 2)), plan)
    fresh_operator = measured(counts(200, 20), Counts(), since=later(30))
    state = advance(Record("v1", state), situation(plan), fresh_operator, later(90)).state or state
    assert state.phase is Phase.ROLLED_BACK


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "it got 3 requests, and analysis.minRequests is 50"),
        ({"ready": {"v1"}}, "it has no ready pods"),
    ],
)
def test_what_cannot_be_judged_is_rolled_back_at_the_deadline(changes: dict[str, Any], says: str) -> None:
    seen = measured(counts(3))
    assert after(3599, seen, **changes).phase is Phase.PROGRESSING
    state = after(3600, seen, **changes)
    assert (state.phase, state.why) == (Phase.ROLLED_BACK, Why.NOT_JUDGED)
    assert says in state.message
    unheard = after(3600, measured(counts(3), problem="the routers do not answer"))
    assert "the routers do not answer" in unheard.message


@pytest.mark.parametrize("missing", [{"ready": {"v1"}}, {"split": False}])
def test_the_first_step_waits_for_pods_and_router(missing: dict[str, Any]) -> None:
    record = advance(Record("v1"), situation(**missing), None, BEGIN)
    assert record.state is not None
    assert (record.state.phase, record.state.share) == (Phase.WAITING, 0)
    assert next_look(record, situation(), later(600)) == 3000
    record = advance(record, situation(**missing), None, later(3600))
    assert record.state is not None
    assert record.state.why is Why.NOT_JUDGED


def asking(action: RolloutAction, version: str | None = None) -> Rollout:
    return replace(PLAN, action=action, version=version)


def test_a_pause_keeps_the_share_and_goes_on_judging() -> None:
    state = advance(
        Record("v1", first_step()), situation(asking(RolloutAction.PAUSE)), measured(counts(500)), later(99)
    )
    assert state.state is not None
    assert (state.state.phase, state.state.share) == (Phase.PAUSED, 5)
    much_later = advance(state, situation(asking(RolloutAction.PAUSE)), measured(counts(9)), later(99_999))
    assert much_later.state is not None
    assert (much_later.state.phase, much_later.state.share) == (Phase.PAUSED, 5)
    on = advance(much_later, situation(), measured(counts(500)), later(100_000))
    assert on.state is not None
    assert (on.state.phase, on.state.share, on.state.since) == (Phase.PROGRESSING, 5, later(100_000))
    bad = advance(state, situation(asking(RolloutAction.PAUSE)), measured(counts(100, 50)), later(200))
    assert bad.state is not None
    assert bad.state.phase is Phase.ROLLED_BACK


def test_a_rollout_may_begin_paused() -> None:
    record = advance(Record("v1"), situation(asking(RolloutAction.PAUSE)), None, BEGIN)
    assert record.state is not None
    assert (record.state.phase, record.state.share) == (Phase.PAUSED, 0)
    assert next_look(record, situation(), BEGIN) is None
    waiting = advance(record, situation(), None, later(5000))
    assert waiting.state is not None
    assert waiting.state.phase is Phase.WAITING
    begun = advance(waiting, situation(), None, later(5001))
    assert begun.share == 5


def test_abort_holds_as_long_as_it_is_asked_for() -> None:
    asked = situation(asking(RolloutAction.ABORT, "v2"))
    record = advance(Record("v1", first_step()), asked, None, later(10))
    assert record.state is not None
    assert (record.state.phase, record.state.why, record.share) == (Phase.ROLLED_BACK, Why.ASKED, 0)
    assert advance(record, asked, None, later(9999)) == record
    assert advance(record, situation(), None, later(10_000)).share == 5


def test_promote_needs_no_proof() -> None:
    asked = situation(asking(RolloutAction.PROMOTE, "v2"))
    for state in (None, first_step(), after(60, measured(counts(100, 50)))):
        record = advance(Record("v1", state), asked, None, later(100))
        assert (record.stable, record.share) == ("v2", None)
        assert advance(record, asked, None, later(101)) == record


@pytest.mark.parametrize("action", list(RolloutAction))
def test_an_action_for_another_version_is_none(action: RolloutAction) -> None:
    assert after(60, measured(counts(500)), asking(action, "v1")).share == 25


def test_a_changed_version_or_limit_has_another_chance() -> None:
    gone = Record("v1", after(60, measured(counts(100, 50))))
    assert advance(gone, situation(), None, later(99)) == gone
    assert advance(gone, situation(versions={**BOTH, "v2": "hash-3"}), None, later(99)).share == 5
    milder = replace(PLAN, analysis=replace(LIMITS, max_error_percent=60))
    assert advance(gone, situation(milder), None, later(99)).share == 5
    back = advance(gone, situation(default="v1"), None, later(99))
    assert back == Record("v1")
    assert advance(back, situation(), None, later(100)).share == 5


def test_limits_may_change_on_the_way() -> None:
    state = first_step()
    stricter = replace(PLAN, steps=(5, 10, 100), analysis=replace(LIMITS, min_requests=5))
    record = advance(Record("v1", state), situation(stricter), measured(counts(10)), later(60))
    assert record.share == 10


def test_without_the_old_version_there_is_nothing_to_compare_with() -> None:
    record = advance(Record("v1", first_step()), situation(versions={"v2": "hash-2"}), None, later(5))
    assert (record.stable, record.share) == ("v2", None)
    assert record.state is not None
    assert record.state.why is Why.OLD_VERSION_GONE
    assert "v1 is no longer in the spec: v2 took over without steps" in record.state.message


def test_a_third_version_begins_anew_and_the_second_gets_nothing() -> None:
    three = {**BOTH, "v3": "hash-3"}
    record = advance(Record("v1", first_step()), situation(versions=three, default="v3"), None, later(5))
    assert record.state is not None
    assert (record.state.old, record.state.new, record.stable) == ("v1", "v3", "v1")


@pytest.mark.parametrize("plan", [PLAN, None])
def test_a_new_service_has_nothing_to_roll_out(plan: Rollout | None) -> None:
    assert advance(Record(), situation(plan), None, BEGIN) == Record("v2")


def test_without_a_rollout_the_default_is_stable_at_once() -> None:
    assert advance(Record("v1", first_step()), situation(None), None, BEGIN) == Record("v2")


def test_looks_while_there_is_something_to_see() -> None:
    progressing, short = Record("v1", first_step()), replace(PLAN, interval_seconds=2)
    assert next_look(progressing, situation(), BEGIN) == 10
    assert next_look(progressing, situation(short), BEGIN) == 1
    assert next_look(Record("v1", after(60, measured(counts(100, 50)))), situation(), BEGIN) is None
    assert next_look(Record("v1"), situation(), BEGIN) is None


def test_a_record_survives_the_status() -> None:
    for state in (None, first_step(), after(9, measured(counts(7))), after(60, measured(counts(100, 50)))):
        assert read_record(record_status(Record("v1", state))) == Record("v1", state)
    assert read_record({}) == Record()
    assert read_record({"stableVersion": "v1", "rollout": {"phase": "Flying"}}) == Record("v1")


def test_p99() -> None:
    spread = Counts(100, 0, {1.0: 50, 2.0: 40, 5.0: 10, float("inf"): 0})
    assert spread.p99 == pytest.approx(4.7)
    assert (spread.slower_than(2), spread.slower_than(5), spread.slower_than(1.5)) == (10, 0, 10)
    assert Counts(3, 0, {1.0: 0, float("inf"): 3}).p99 == 1.0
    assert Counts().p99 is None
