"""The queue in front of the model.

case                                      expected
the model is free                         a request is scored at once, alone
the model is busy                         what waits is scored together, oldest first, up to the limit of rows
requests of different shapes              never in one batch, and none is overtaken for ever
one bad request in a batch                fails alone; the others get their own results
more requests than slots                  the ones behind wait a limited time, then Overloaded
a request that is too old                 TimedOut, and dropped if it was not started
a full queue                              Overloaded at once
a delay                                   a batch that is not full waits for more, no longer than that
closing                                   what waits is told so, the thread ends
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring_runtime.batching import BatchQueue, Limits, Load
from scoring_runtime.errors import InputRejected, ModelFailed, NotReady, Overloaded, TimedOut
from scoring_runtime.tensors import Tensors
from tests.runtime.models import Echo
from tests.waiting import PATIENCE, until


class Model(Echo):
    """Doubles each row, says what it was given, and can be held in the middle of a batch."""

    methods = ("predict", "other")

    def __init__(self) -> None:
        self.batches: list[list[list[float]]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        (rows,) = inputs.arrays
        self.batches.append(rows.tolist())
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        if (rows == 666).any():
            raise InputRejected("a row is bad")
        if (rows == 777).any():
            raise ZeroDivisionError
        if (rows == 888).any():
            raise SystemExit(1)
        return Tensors((rows * (2 if method == "predict" else 3),))


def rows(*values: float, width: int = 1, dtype: type = float) -> Tensors:
    return Tensors((np.array([[value] * width for value in values], dtype=dtype),))


@contextmanager
def running(model: Model, limits: Limits) -> Iterator[tuple[BatchQueue, ThreadPoolExecutor]]:
    queue = BatchQueue(model, limits)
    with ThreadPoolExecutor(64) as threads:
        try:
            yield queue, threads
        finally:
            model.gate.set()
            queue.close()


class Busy:
    """A queue whose model is in the middle of a batch with one row of 0."""

    def __init__(self, model: Model, queue: BatchQueue, threads: ThreadPoolExecutor) -> None:
        self.model, self.queue, self.threads = model, queue, threads
        model.gate.clear()
        self.first = self.submit(rows(0))
        assert model.entered.acquire(timeout=PATIENCE)

    def submit(self, inputs: Tensors, method: str = "predict") -> Future[Tensors]:
        """Submit, and return once it is in the queue."""
        before = total(self.queue.load())
        future = self.threads.submit(self.queue.score, inputs, method)
        until(lambda: total(self.queue.load()) == before + 1 or future.done())
        return future


def total(load: Load) -> int:
    return load.busy + load.queued


def values(future: Future[Tensors]) -> list:
    return future.result(PATIENCE).arrays[0].tolist()


def test_an_idle_model_scores_at_once() -> None:
    model = Model()
    with running(model, Limits()) as (queue, _):
        assert queue.score(rows(1, 2), "predict").arrays[0].tolist() == [[2], [4]]
        assert queue.score(rows(3), "other").arrays[0].tolist() == [[9]]
        assert queue.load() == Load(busy=0, queued=0, slots=8)
    assert model.batches == [[[1], [2]], [[3]]]


def test_what_waits_is_scored_together_up_to_the_limit_of_rows() -> None:
    model = Model()
    with running(model, Limits(max_rows=4, max_queue_wait=PATIENCE)) as (queue, threads):
        busy = Busy(model, queue, threads)
        futures = [busy.submit(rows(value)) for value in range(1, 7)]
        model.gate.set()
        assert [values(future) for future in futures] == [[[2 * value]] for value in range(1, 7)]
    assert model.batches == [[[0]], [[1], [2], [3], [4]], [[5], [6]]]


def test_a_request_with_more_rows_than_the_limit_is_scored_alone_and_whole() -> None:
    model = Model()
    with running(model, Limits(max_rows=2, max_queue_wait=PATIENCE)) as (queue, threads):
        busy = Busy(model, queue, threads)
        futures = [busy.submit(rows(1, 2, 3)), busy.submit(rows(4))]
        model.gate.set()
        assert [values(future) for future in futures] == [[[2], [4], [6]], [[8]]]
    assert model.batches == [[[0]], [[1], [2], [3]], [[4]]]


def test_shapes_dtypes_and_methods_are_never_mixed() -> None:
    model = Model()
    with running(model, Limits(max_queue_wait=PATIENCE)) as (queue, threads):
        busy = Busy(model, queue, threads)
        futures = [
            busy.submit(rows(1)),
            busy.submit(rows(2, width=2)),
            busy.submit(rows(3, dtype=int)),
            busy.submit(rows(4), "other"),
            busy.submit(rows(5)),
            busy.submit(rows(6, width=2)),
        ]
        model.gate.set()
        expected = [[[2]], [[4, 4]], [[6]], [[12]], [[10]], [[12, 12]]]
        assert [values(future) for future in futures] == expected
    assert model.batches == [[[0]], [[1], [5]], [[2, 2], [6, 6]], [[3]], [[4]]]


@pytest.mark.parametrize(("bad", "error"), [(666, InputRejected), (777, ModelFailed), (888, ModelFailed)])
@pytest.mark.parametrize("position", [0, 3, 6])
def test_a_bad_request_fails_alone(bad: float, error: type[Exception], position: int) -> None:
    model = Model()
    with running(model, Limits(max_queue_wait=PATIENCE)) as (queue, threads):
        busy = Busy(model, queue, threads)
        given = [1, 2, 3, 4, 5, 6]
        given.insert(position, bad)
        futures = [busy.submit(rows(value)) for value in given]
        model.gate.set()
        for value, future in zip(given, futures, strict=True):
            if value == bad:
                assert isinstance(future.exception(PATIENCE), error)
            else:
                assert values(future) == [[2 * value]]
        assert queue.score(rows(9), "predict").arrays[0].tolist() == [[18]]


def test_who_has_no_slot_is_turned_away_after_the_wait_and_who_has_one_is_not() -> None:
    model = Model()
    with running(model, Limits(slots=2, max_queue_wait=0.05)) as (queue, threads):
        busy = Busy(model, queue, threads)
        second, third = busy.submit(rows(1)), busy.submit(rows(2))
        refused = third.exception(PATIENCE)
        assert isinstance(refused, Overloaded)
        assert dict(refused.headers) == {"Retry-After": "1"}
        assert queue.load() == Load(busy=2, queued=0, slots=2)
        model.gate.set()
        assert values(second) == [[2]]
    assert model.batches == [[[0]], [[1]]]


def test_the_load_counts_slots_and_those_that_wait_for_one() -> None:
    model = Model()
    with running(model, Limits(slots=2, max_queue_wait=PATIENCE)) as (queue, threads):
        busy = Busy(model, queue, threads)
        assert queue.load() == Load(busy=1, queued=0, slots=2)
        futures = [busy.submit(rows(value)) for value in range(3)]
        assert queue.load() == Load(busy=2, queued=2, slots=2)
        model.gate.set()
        assert [values(future) for future in futures] == [[[0]], [[2]], [[4]]]
        assert queue.load() == Load(busy=0, queued=0, slots=2)


def test_a_late_answer_is_a_timeout_and_work_not_started_is_dropped() -> None:
    model = Model()
    with running(model, Limits(timeout=0.05, max_queue_wait=0.01)) as (queue, threads):
        busy = Busy(model, queue, threads)
        waiting = busy.submit(rows(1))
        assert isinstance(busy.first.exception(PATIENCE), TimedOut)
        assert isinstance(waiting.exception(PATIENCE), TimedOut)
        until(lambda: queue.load() == Load(busy=1, queued=0, slots=8))
        model.gate.set()
        until(lambda: queue.load().busy == 0)
    assert model.batches == [[[0]]]


def test_the_queue_is_bounded() -> None:
    model = Model()
    limits = Limits(slots=1, max_queue_wait=PATIENCE)
    queue = BatchQueue(model, limits)
    with ThreadPoolExecutor(limits.max_requests) as threads:
        busy = Busy(model, queue, threads)
        futures = [threads.submit(queue.score, rows(1), "predict") for _ in range(limits.max_requests - 1)]
        until(lambda: total(queue.load()) == limits.max_requests)
        with pytest.raises(Overloaded):
            queue.score(rows(2), "predict")
        model.gate.set()
        assert values(busy.first) == [[0]]
        assert [values(future) for future in futures] == [[[2]]] * len(futures)
    queue.close()


def test_a_delay_waits_for_more_rows_and_ends_when_the_batch_is_full() -> None:
    model = Model()
    with running(model, Limits(max_rows=3, max_delay=PATIENCE)) as (queue, threads):
        futures = [threads.submit(queue.score, rows(value), "predict") for value in (1, 2, 3)]
        assert [values(future) for future in futures] == [[[2]], [[4]], [[6]]]
    assert [sorted(batch) for batch in model.batches] == [[[1], [2], [3]]]


def test_a_delay_ends() -> None:
    model = Model()
    with running(model, Limits(max_delay=0.05)) as (queue, _):
        started = time.monotonic()
        for value in range(3):
            assert queue.score(rows(value), "predict").arrays[0].tolist() == [[2 * value]]
        assert time.monotonic() - started >= 0.15


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    model = Model()
    queue = BatchQueue(model, Limits(max_queue_wait=PATIENCE))
    with ThreadPoolExecutor(4) as threads:
        busy = Busy(model, queue, threads)
        waiting = busy.submit(rows(1))
        closing = threads.submit(queue.close)
        assert isinstance(waiting.exception(PATIENCE), NotReady)
        model.gate.set()
        closing.result(PATIENCE)
        assert values(busy.first) == [[0]]
    with pytest.raises(NotReady):
        queue.score(rows(1), "predict")


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.one_of(st.integers(0, 500), st.sampled_from([666, 777])), min_size=1, max_size=5),
        st.integers(1, 2),
        st.sampled_from([float, int]),
        st.sampled_from(["predict", "other"]),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.integers(1, 8), st.sampled_from([0.0, 0.001]))
def test_results_never_cross(requests: list, max_rows: int, max_delay: float) -> None:
    """Whatever comes together: each gets what it would have got alone, and no batch is over the limit or mixed."""
    model = Model()
    with running(model, Limits(max_rows=max_rows, max_delay=max_delay, max_queue_wait=PATIENCE)) as (queue, threads):
        futures = [
            threads.submit(queue.score, rows(*given, width=width, dtype=dtype), method)
            for given, width, dtype, method in requests
        ]
        for (given, width, _, method), future in zip(requests, futures, strict=True):
            factor = 2 if method == "predict" else 3
            if 666 in given:
                assert isinstance(future.exception(PATIENCE), InputRejected)
            elif 777 in given:
                assert isinstance(future.exception(PATIENCE), ModelFailed)
            else:
                assert values(future) == [[factor * value] * width for value in given]
    largest = max(len(given) for given, *_ in requests)
    assert all(len(batch) <= max(max_rows, largest) for batch in model.batches)
