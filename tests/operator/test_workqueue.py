"""The queue's promises, on a clock that jumps instead of waiting.

| what happens                         | what is promised                                     |
|--------------------------------------|------------------------------------------------------|
| added twice while waiting            | worked on once                                       |
| added while worked on                | worked on once more, after it                        |
| many workers, many adds (any order)  | a key is never in two hands; nothing added is lost   |
| failures                             | growing delays, jittered, bounded; success resets    |
| a pass asks to be repeated           | it is, at its time; an event before that replaces it |
"""

import asyncio
import itertools
import logging
import selectors
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring_operator.workqueue import Backoff, WorkQueue, work


class JumpingSelector(selectors.SelectSelector):
    """Never waits: time passes by the timeout that it was asked to wait for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            self.now += timeout or 0.0
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(coroutine)


def test_a_key_that_waits_is_not_added_again():
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        queue.add("b")
        queue.add("a")
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]

    run(scenario())


def test_a_key_added_while_worked_on_runs_once_more_and_not_before_the_end():
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        await queue.get()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert len(queue) == 1
        await queue.get()
        queue.done("a")
        assert len(queue) == 0

    run(scenario())


def test_a_delay_is_replaced_by_a_later_one_and_ended_by_work():
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", 5)
        queue.add_after("a", 9)
        await queue.get()
        assert loop.time() == pytest.approx(9)
        queue.done("a")
        queue.add_after("a", 5)
        queue.add("a")
        await queue.get()
        assert loop.time() == pytest.approx(9)
        queue.done("a")
        await asyncio.sleep(100)
        assert len(queue) == 0

    run(scenario())


def test_forgetting_cancels_the_delay_and_the_failures():
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.failed("a")
        assert queue.retrying == 1
        queue.forget("a")
        await asyncio.sleep(1000)
        assert (len(queue), queue.retrying) == (0, 0)

    run(scenario())


def test_failures_are_retried_later_and_later_until_success_resets_the_delay():
    passes: list[float] = []

    async def process(_: str) -> float | None:
        passes.append(asyncio.get_running_loop().time())
        if len(passes) < 6:
            raise RuntimeError("not yet")
        return None

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(Backoff(first=1, limit=5), chance=lambda: 0.0)
        queue.add("a")
        worker = asyncio.create_task(work(queue, process, workers=2))
        await asyncio.sleep(1000)
        assert queue.retrying == 0
        assert queue.failed("a") == pytest.approx(1)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    run(scenario())
    gaps = [later - earlier for earlier, later in itertools.pairwise(passes)]
    assert gaps == pytest.approx([1, 2, 4, 5, 5])


def test_a_pass_that_asks_for_it_is_repeated():
    passes: list[float] = []

    async def process(_: str) -> float | None:
        passes.append(asyncio.get_running_loop().time())
        return 10 if len(passes) < 4 else None

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        worker = asyncio.create_task(work(queue, process, workers=1))
        await asyncio.sleep(1000)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    run(scenario())
    assert passes == pytest.approx([0, 10, 20, 30])


def test_the_heartbeat_is_the_age_of_the_oldest_work():
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        assert queue.longest_running() == 0
        queue.add("a")
        await queue.get()
        await asyncio.sleep(3)
        queue.add("b")
        await queue.get()
        await asyncio.sleep(4)
        assert queue.longest_running() == pytest.approx(7)
        queue.done("a")
        assert queue.longest_running() == pytest.approx(4)

    run(scenario())


@given(failures=st.integers(1, 5000), chance=st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_nothing_and_never_above_the_limit(failures: int, chance: float):
    backoff = Backoff(first=0.5, limit=120)
    assert 0.25 <= backoff.delay(failures, chance) <= 120
    assert backoff.delay(failures, 0) <= backoff.delay(failures + 1, 0)


Step = tuple[float, int]


@settings(max_examples=60, deadline=None)
@given(
    adds=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 4)), max_size=40),
    durations=st.lists(st.floats(0, 5), min_size=1, max_size=8),
    failing=st.sets(st.integers(0, 40)),
    workers=st.integers(1, 5),
)
def test_no_key_is_in_two_hands_and_no_add_is_lost(
    adds: list[Step], durations: list[float], failing: set[int], workers: int
):
    hands: Counter[int] = Counter()
    began: dict[int, list[float]] = {}
    count = 0

    async def process(key: int) -> float | None:
        nonlocal count
        count += 1
        number = count
        began.setdefault(key, []).append(asyncio.get_running_loop().time())
        hands[key] += 1
        assert hands[key] == 1
        await asyncio.sleep(durations[number % len(durations)])
        hands[key] -= 1
        if number in failing:
            raise RuntimeError("as planned")
        return None

    async def scenario() -> None:
        queue: WorkQueue[int] = WorkQueue(Backoff(first=0.1, limit=1))
        loop = asyncio.get_running_loop()
        worker = asyncio.create_task(work(queue, process, workers))
        for at, key in adds:
            loop.call_at(at, queue.add, key)
        await asyncio.sleep(1000)
        assert (len(queue), queue.active, queue.retrying) == (0, 0, 0)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    logging.disable()
    try:
        run(scenario())
    finally:
        logging.disable(logging.NOTSET)
    for at, key in adds:
        assert any(start >= at - 1e-6 for start in began[key]), "an add was not followed by a pass"
