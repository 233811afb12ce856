"""How many pods: the decision alone, by tables and by properties.

| situation                                     | what is expected                                              |
|-----------------------------------------------|---------------------------------------------------------------|
| any readings                                  | within the bounds; more load never means fewer pods           |
| a constant load                               | the right number, reached once and then never left            |
| from idle to four pods' worth                 | four with the second reading that says so                     |
| one high reading among low ones               | nothing                                                       |
| the load ends                                 | the minimum, a window later, and not sooner                   |
| pods that do not answer                       | nothing goes because of them, nothing is added for them       |
| nobody answers, the operator has just started | nothing changes                                               |
| pods that are still starting                  | are not asked for twice                                       |
"""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring_operator.autoscaling.decision import (
    KEPT_SECONDS,
    WINDOW_SECONDS,
    PodLoad,
    Reading,
    desired_replicas,
    reading,
)
from scoring_operator.spec import Autoscaling

SLOTS = 8
BOUNDS = Autoscaling(min_replicas=1, max_replicas=10, target=70)

bounds = st.builds(
    lambda least, more, target: Autoscaling(min_replicas=least, max_replicas=max(least + more, 1), target=target),
    st.integers(0, 20),
    st.integers(0, 50),
    st.integers(1, 100),
)
loads = st.lists(
    st.tuples(st.floats(0.1, 3), st.floats(0, 1000), st.integers(1, 64), st.integers(0, 5), st.integers(0, 5)),
    min_size=1,
    max_size=90,
)


def readings_of(steps: list[tuple[float, float, int, int, int]], more: float = 0.0) -> list[Reading]:
    """Readings with these pauses, loads (each `more` higher), slots, answering and silent pods."""
    found, moment = [], 0.0
    for pause, load, slots, answered, silent in steps:
        moment += pause
        found.append(Reading(moment, (load + more) if answered else 0.0, slots, answered, silent))
    return found


def play(limits: Autoscaling, current: int, load: list[float], *, slots: int = SLOTS) -> list[int]:
    """The pods asked for after each second of `load`; new pods answer at once."""
    readings: list[Reading] = []
    asked = []
    for second, requests in enumerate(load):
        readings.append(Reading(float(second), requests, slots, current))
        readings = [one for one in readings if second - one.moment <= KEPT_SECONDS]
        current = desired_replicas(limits, current, readings)
        asked.append(current)
    return asked


@given(bounds, st.integers(0, 60), loads)
def test_the_number_is_within_the_bounds(
    limits: Autoscaling, current: int, steps: list[tuple[float, float, int, int, int]]
) -> None:
    found = desired_replicas(limits, current, readings_of(steps))
    assert max(limits.min_replicas, 1) <= found <= limits.max_replicas


@given(bounds, st.integers(0, 60), loads, st.floats(0, 500))
def test_more_load_never_means_fewer_pods(
    limits: Autoscaling, current: int, steps: list[tuple[float, float, int, int, int]], more: float
) -> None:
    low = desired_replicas(limits, current, readings_of(steps))
    assert desired_replicas(limits, current, readings_of(steps, more)) >= low


@settings(max_examples=25)
@given(bounds, st.integers(1, 60), st.floats(0, 400), st.integers(1, 32))
def test_a_constant_load_is_answered_by_a_constant_number(
    limits: Autoscaling, current: int, load: float, slots: int
) -> None:
    asked = play(limits, current, [load] * 100, slots=slots)
    need = math.ceil(load / (limits.target / 100 * slots) - 1e-6)
    assert asked[-1] >= min(need, limits.max_replicas)
    scatter = math.sqrt(load / 10) / (limits.target / 100 * slots)
    assert asked[-1] <= max(math.ceil((need + scatter) / 0.9), limits.min_replicas, 1)
    assert asked == sorted(asked) or asked == sorted(asked, reverse=True), "it goes one way"
    assert len(set(asked[75:])) == 1


@pytest.mark.parametrize("slots", [1, 4, 8, 32])
def test_from_idle_to_four_pods_worth_at_once(slots: int) -> None:
    worth = 4 * 0.7 * slots + (2 if slots == 1 else 0)  # below two slots chance looks much like a rise
    asked = play(BOUNDS, 1, [0.0] * 100 + [worth] * 3, slots=slots)
    assert asked[99:101] == [1, 1]
    assert asked[101] >= 4


def test_a_rise_that_still_fits_shows_in_the_mean() -> None:
    asked = play(BOUNDS, 1, [3.0] * 100 + [7.0] * 12)
    assert asked[100] == 1
    assert asked[-1] == 2


def test_one_high_reading_changes_nothing() -> None:
    assert set(play(BOUNDS, 1, [3.0] * 50 + [25.0] + [3.0] * 50)) == {1}


def test_pods_go_a_window_after_the_load() -> None:
    asked = play(BOUNDS, 1, [22.0] * 100 + [0.0] * 100)
    assert asked[99] == 4
    last_change = max(second for second in range(100, 200) if asked[second] != asked[second - 1])
    assert asked[100 + int(WINDOW_SECONDS) - 1] == 4
    assert last_change <= 100 + KEPT_SECONDS + 1
    assert asked[-1] == 1


def test_a_short_lull_costs_no_pod() -> None:
    assert set(play(BOUNDS, 4, ([22.0] * 20 + [0.0] * 40) * 5)) == {4}


def test_silent_pods_are_loaded_where_pods_might_go_and_idle_where_they_might_come() -> None:
    quiet = [Reading(float(second), 2.0, SLOTS, answered=1, silent=3) for second in range(100)]
    assert desired_replicas(BOUNDS, 4, quiet) == 4
    assert desired_replicas(BOUNDS, 6, quiet) == 4
    assert desired_replicas(BOUNDS, 1, quiet) == 1
    heard = [replace(one, silent=0) for one in quiet]
    assert desired_replicas(BOUNDS, 4, heard) == 1


@pytest.mark.parametrize("current", [1, 3, 10])
def test_nothing_changes_when_nobody_answers(current: int) -> None:
    nobody = [Reading(float(second), 0.0, SLOTS, answered=0, silent=current) for second in range(100)]
    assert desired_replicas(BOUNDS, current, nobody) == current
    no_pods = [replace(one, silent=0) for one in nobody]
    assert desired_replicas(BOUNDS, current, no_pods) == current


def test_an_operator_that_has_just_started_removes_nothing() -> None:
    assert set(play(BOUNDS, 5, [0.0] * int(WINDOW_SECONDS))) == {5}
    assert play(BOUNDS, 5, [0.0] * int(WINDOW_SECONDS + 1))[-1] == 1
    assert desired_replicas(BOUNDS, 5, []) == 5


def test_an_operator_that_dies_while_it_scales_up_comes_to_the_same_end() -> None:
    load = [22.0] * 200
    undisturbed = play(BOUNDS, 1, load)
    for death in range(1, 12):
        before = play(BOUNDS, 1, load[:death])[-1]
        assert play(BOUNDS, before, load[death:])[-1] == undisturbed[-1] == 4


def test_the_bounds_hold_at_once_also_without_readings() -> None:
    limits = Autoscaling(min_replicas=3, max_replicas=5)
    assert desired_replicas(limits, 1, []) == 3
    assert desired_replicas(limits, 9, []) == 5
    assert desired_replicas(Autoscaling(min_replicas=0), 0, []) == 1


def test_starting_pods_are_not_asked_for_twice() -> None:
    """Three of four pods start for a minute; the one that answers holds all requests."""
    readings = [Reading(float(second), 22.0, SLOTS, answered=1) for second in range(60)]
    current = 1
    for count in range(1, len(readings) + 1):
        current = desired_replicas(BOUNDS, current, readings[:count])
        assert current in (1, 4)
    assert current == 4


def test_a_reading_of_what_pods_say() -> None:
    told = [PodLoad(3, 2, 8), None, PodLoad(1, 0, 4)]
    assert reading(7.0, told, slots=16) == Reading(7.0, 6, 6, 2, 1)
    assert reading(7.0, [None], slots=16) == Reading(7.0, 0, 16, 0, 1)
    assert reading(7.0, [], slots=0) == Reading(7.0, 0, 1, 0, 0)
