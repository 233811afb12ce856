"""Whether anybody calls a version that sleeps: the decision alone.

| situation                                        | what is expected                        |
|--------------------------------------------------|-----------------------------------------|
| counts that stay the same                        | asleep after the idle time, not sooner  |
| a count that grows                               | wakes, and is not idle                  |
| a router that is new, silent, or starts anew     | not idle; wakes nothing                 |
| pods that are busy                               | not idle                                |
| any sequence                                     | no pods only after the idle time        |
"""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.autoscaling.wakeups import Attention, attended, calls, with_sleep
from scoring_operator.spec import Autoscaling

BOUNDS = Autoscaling(min_replicas=0, idle_seconds=30)
Told = Mapping[str, int | None]


def follow(*told: Told, busy: bool = False) -> Attention:
    """What is known after these answers, one a second from 0 on."""
    attention: Attention | None = None
    for second, counts in enumerate(told):
        attention = attended(attention, counts, float(second), busy=busy)
    assert attention is not None
    return attention


def test_counts_that_stay_the_same_mean_that_nobody_calls() -> None:
    attention = follow(*[{"a": 7, "b": 0}] * 40)
    assert (attention.since, attention.called) == (0.0, False)
    assert with_sleep(BOUNDS, 1, 1, attention, 29.0) == 1
    assert with_sleep(BOUNDS, 1, 1, attention, 30.0) == 0
    assert with_sleep(BOUNDS, 3, 2, attention, 40.0) == 0
    assert with_sleep(Autoscaling(min_replicas=1, idle_seconds=30), 1, 1, attention, 99.0) == 1


def test_a_call_wakes() -> None:
    attention = follow({"a": 7}, {"a": 7}, {"a": 8})
    assert (attention.since, attention.called) == (2.0, True)
    assert with_sleep(BOUNDS, 0, 1, attention, 2.0) == 1
    later = attended(attention, {"a": 8}, 3.0)
    assert with_sleep(BOUNDS, 0, 1, later, 99.0) == 0


@pytest.mark.parametrize(
    "told",
    [
        [{"a": 7}, {"a": 7, "b": 3}],
        [{"a": 7}, {"b": 9}],
        [{"a": 7}, {"a": None}],
        [{"a": 7}, {"a": 2}],
        [{"a": 7}, {}],
        [{}, {}],
    ],
)
def test_what_is_not_known_is_neither_idle_nor_a_call(told: list[Told]) -> None:
    attention = follow(*told)
    assert (attention.since, attention.called) == (1.0, False)
    assert with_sleep(BOUNDS, 0, 1, attention, 1.0) == 0


def test_a_silent_router_that_speaks_again_is_compared_with_what_it_said() -> None:
    assert follow({"a": 7}, {"a": None}, {"a": 9}).called
    assert not follow({"a": 7}, {"a": None}, {"a": 7}).called


def test_busy_pods_are_called() -> None:
    assert follow(*[{"a": 7}] * 10, busy=True).since == 9.0


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(0, 3)), min_size=1, max_size=80))
def test_no_pods_only_after_the_idle_time(told: list[Told]) -> None:
    attention: Attention | None = None
    changed, before = 0, None
    for second, counts in enumerate(told):
        attention = attended(attention, counts, float(second))
        if counts != before or None in counts.values() or not counts:
            changed = second
        before = counts
        if with_sleep(BOUNDS, 1, 1, attention, float(second)) == 0:
            assert second - changed >= BOUNDS.idle_seconds
        if with_sleep(BOUNDS, 0, 1, attention, float(second)) > 0:
            assert changed == second


def test_the_routers_numbers_are_read() -> None:
    text = """cluster.v1.upstream_rq_total: 4
cluster.v1.upstream_cx_connect_fail: 3
cluster.v1-grpc.upstream_rq_total: 2
cluster.v2.upstream_rq_retry: 0
cluster.v1.upstream_rq_time: No recorded values
"""
    assert calls(text) == {"v1": 9, "v2": 0}
    assert calls("<html>") == {}
