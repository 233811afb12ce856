"""The queue in front of the model: requests are scored together while the model is busy.

One thread owns the model. When it becomes free it takes what waits, up to the batch limit, and never waits for more
unless it is told to: an idle model answers at once, and a busy one fills its batches by itself. `predict` costs about
the same for 1 row as for 32 in most models, so this is most of the speed at no cost in latency.

Who may wait: the first `slots` requests that are not finished hold a slot. The ones behind them wait for a slot, each
for a limited time; then they are turned away. A request that holds a slot waits for its answer until its time limit.
A second thread looks at the clock for all of them, so that none needs a thread of its own to wait in.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from scoring_runtime.errors import ModelFailed, NotReady, Overloaded, RequestError, TimedOut
from scoring_runtime.frameworks import Model
from scoring_runtime.tensors import Tensors, join

_logger = logging.getLogger(__name__)

# Requests that may wait for each slot. Each holds a thread, so the number is bounded; the time limit of the wait is
# what turns requests away in practice.
WAITING_PER_SLOT = 16
MIN_WAITING = 240
# Slow clients cost a thread each, and a thread costs little until it runs.
RECEIVING_PER_REQUEST = 3
# The shortest and the longest time between two looks at the clock, in seconds.
_MIN_LOOK, _MAX_LOOK = 0.01, 1.0


@dataclass(frozen=True)
class Limits:
    """What one queue allows. Times in seconds."""

    slots: int = 8
    max_rows: int = 32
    max_delay: float = 0.0
    max_queue_wait: float = 0.5
    timeout: float = 60.0

    @property
    def max_requests(self) -> int:
        """How many requests may be in the queue and in scoring at one time."""
        return self.slots + max(MIN_WAITING, WAITING_PER_SLOT * self.slots)

    @property
    def max_receiving(self) -> int:
        """How many requests may be on their way in, each with a thread, at one time."""
        return RECEIVING_PER_REQUEST * self.max_requests


@dataclass(frozen=True)
class Load:
    """How busy a queue is. The autoscaler's utilization is (busy + queued) / slots."""

    busy: int
    """Requests that hold a slot."""
    queued: int
    """Requests that wait for one."""
    slots: int


class Observer(Protocol):
    """What wants to know of each batch (the metrics)."""

    def batch_done(self, rows: int, waits: Sequence[float], seconds: float) -> None:
        """Called after each batch with its rows, how long each request waited and how long the model took."""


class QueueItem:
    """One request in the queue, from its arrival to its answer: a `result` or an `error`.

    `done` is called with the item once it has either, in a thread that must not be held up.
    """

    # `batch` is set by a queue that is traced, and by nobody else.
    __slots__ = ("arrived", "batch", "deadline", "done", "error", "inputs", "key", "method", "over", "result", "rows")
    batch: object

    def __init__(self, inputs: Tensors, method: str, done: Callable[[QueueItem], object]) -> None:
        self.inputs = inputs
        self.method = method
        self.done = done
        self.rows = len(inputs)
        self.key = (method, inputs.signature)
        self.arrived = time.monotonic()
        self.deadline = math.inf
        self.result: Tensors | None = None
        self.error: RequestError | None = None
        # Answered before the model was ready with it; what the model says then is not heard.
        self.over = False

    def answer(self) -> Tensors:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class BatchQueue:
    """Scores requests of many threads in batches on one. `close` ends its threads."""

    def __init__(self, model: Model, limits: Limits, observer: Observer | None = None) -> None:
        self._model = model
        self._limits = limits
        self._observer = observer
        self._waiting: deque[QueueItem] = deque()
        self._running: list[QueueItem] = []
        # How many requests may be here at one time.
        self._room = limits.max_requests if limits.max_queue_wait else limits.slots
        self._lock = self._new_lock()
        self._asleep = False
        self._closed = False
        # Released exactly once for each time that `_asleep` is cleared.
        self._wake = threading.Lock()
        self._wake.acquire()
        # A request that comes between two looks is seen at the next, before the time limits that all share are over;
        # where these are shorter than the shortest pause, at most that pause later.
        self._between_looks = min(max(min(limits.max_queue_wait, limits.timeout) / 2, _MIN_LOOK), _MAX_LOOK)
        self._next_look = 0.0
        self._look_now = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name="model", daemon=True),
            threading.Thread(target=self._watch, name="time-limits", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def score(self, inputs: Tensors, method: str, seconds: float = math.inf) -> Tensors:
        """Return the model's answer for prepared `inputs`; blocks until it is there, at most `seconds`.

        Raises Overloaded when no slot became free in time, TimedOut when the answer was not there in time, and what
        the model raised for these inputs.
        """
        # A bare lock is the cheapest thing that a thread can wait on; released means answered.
        answered = threading.Lock()
        answered.acquire()
        item = QueueItem(inputs, method, lambda _: answered.release())
        self.submit(item, seconds)
        answered.acquire()
        return item.answer()

    def submit(self, item: QueueItem, seconds: float = math.inf) -> None:
        """Have a request scored; returns at once. Raises Overloaded when the queue is full."""
        item.deadline = item.arrived + min(seconds, self._limits.timeout)
        self._enter(item)

    def load(self) -> Load:
        """Return how busy the queue is now."""
        with self._lock:
            present = self.present
        slots = self._limits.slots
        return Load(min(present, slots), max(present - slots, 0), slots)

    def close(self, seconds: float | None = None) -> None:
        """Refuse new requests, let the model finish its batch, answer the rest with NotReady and end the threads.

        Waits for the batch at most `seconds`, without a number as long as it takes.
        """
        with self._lock:
            self._closed = True
            dropped, self._waiting = self._waiting, deque()
            asleep, self._asleep = self._asleep, False
        for item in dropped:
            item.error = _stopping()
            _tell(item)
        if asleep:
            self._wake.release()
        self._look_now.set()
        end = time.monotonic() + (seconds or 0)
        for thread in self._threads:
            thread.join(None if seconds is None else max(end - time.monotonic(), 0))

    @property
    def present(self) -> int:
        """How many requests are in the queue and in scoring. Call with the lock held."""
        return len(self._running) + len(self._waiting)

    def earlier_than(self, item: QueueItem) -> int:
        """Return how many requests that wait here or are scored came before `item`. Call with the lock held."""
        return len(self._running) + sum(waiting.arrived < item.arrived for waiting in self._waiting)

    def _new_lock(self) -> AbstractContextManager[object]:
        return threading.Lock()

    def _before(self, item: QueueItem, kept: int) -> int:
        """Return how many requests get a slot before `item`, which waits behind `kept` others. Lock held."""
        return len(self._running) + kept

    def _enter(self, item: QueueItem) -> None:
        with self._lock:
            if self._closed:
                raise _stopping()
            if len(self._running) + len(self._waiting) >= self._room:
                raise self._overloaded()
            self._waiting.append(item)
            asleep, self._asleep = self._asleep, False
            soon = item.deadline < self._next_look
        if asleep:
            self._wake.release()
        if soon:
            self._look_now.set()

    def _watch(self) -> None:
        """Answer those whose time is over, until the queue is closed and empty."""
        while True:
            with self._lock:
                late = self._late()
                if self._closed and not self._running:
                    return
                pause = max(self._next_look - time.monotonic(), 0)
            for item in late:
                _tell(item)
            if self._look_now.wait(min(pause, _MIN_LOOK) if self._closed else pause):
                self._look_now.clear()

    def _late(self) -> list[QueueItem]:
        """Remove and return those whose time is over, with their errors; note when to look next. Lock held."""
        limits, now = self._limits, time.monotonic()
        late: list[QueueItem] = []
        kept: deque[QueueItem] = deque()
        next_look = now + self._between_looks
        for item in self._waiting:
            has_slot = self._before(item, len(kept)) < limits.slots
            leaves = item.deadline if has_slot else min(item.deadline, item.arrived + limits.max_queue_wait)
            if now < leaves:
                next_look = min(next_look, leaves)
                kept.append(item)
                continue
            item.error = _timed_out(item) if now >= item.deadline else self._overloaded()
            late.append(item)
        if late:
            self._waiting = kept
        for item in self._running:
            if item.over:
                continue
            if now >= item.deadline:
                item.over, item.error = True, _timed_out(item)
                late.append(item)
            else:
                next_look = min(next_look, item.deadline)
        self._next_look = next_look
        return late

    def _overloaded(self) -> Overloaded:
        retry = max(1, math.ceil(self._limits.max_queue_wait))
        return Overloaded("all slots are busy; send the request again later", [("Retry-After", str(retry))])

    def _work(self) -> None:
        while True:
            with self._lock:
                batch = self._take()
                if not batch:
                    if self._closed:
                        return
                    self._asleep = True
            if not batch:
                self._wake.acquire()
                continue
            if self._limits.max_delay:
                self._wait_for_more(batch)
                with self._lock:
                    self._running = batch = [item for item in batch if not item.over]
            if batch:
                self._run(batch)

    def _take(self) -> list[QueueItem]:
        """Remove and return the oldest request and those behind it that fit its batch. Call with the lock held."""
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        batch = [first]
        self._fill(batch)
        return batch

    def _fill(self, batch: list[QueueItem]) -> None:
        rows = sum(item.rows for item in batch)
        key = batch[0].key
        others: list[QueueItem] = []
        while self._waiting and rows < self._limits.max_rows:
            item = self._waiting.popleft()
            if item.key == key and rows + item.rows <= self._limits.max_rows:
                batch.append(item)
                rows += item.rows
            else:
                others.append(item)
        self._waiting.extendleft(reversed(others))
        self._running = batch

    def _wait_for_more(self, batch: list[QueueItem]) -> None:
        """Give a batch that is not full until `max_delay` after its first request came."""
        until = batch[0].arrived + self._limits.max_delay
        while sum(item.rows for item in batch) < self._limits.max_rows:
            left = until - time.monotonic()
            with self._lock:
                if left <= 0 or self._closed:
                    return
                # What waits now did not fit this batch; only an arrival can change that.
                self._asleep = True
            woken = self._wake.acquire(timeout=left)
            with self._lock:
                if not woken and not self._asleep:
                    self._wake.acquire()
                self._asleep = False
                self._fill(batch)

    def _run(self, batch: list[QueueItem]) -> None:
        started = time.monotonic()
        self._score(batch)
        seconds = time.monotonic() - started
        # The slots are free before anyone is told, so that the load never counts an answered request.
        with self._lock:
            self._running = []
            answered = [item for item in batch if not item.over]
        for item in answered:
            _tell(item)
        if self._observer is not None:
            rows = sum(item.rows for item in batch)
            self._observer.batch_done(rows, [started - item.arrived for item in batch], seconds)

    def _score(self, batch: list[QueueItem]) -> None:
        """Give each item its result or its error. A batch that fails is halved until the bad request is alone."""
        try:
            result = self._model.predict(join([item.inputs for item in batch]), batch[0].method)
        except BaseException as error:  # A model may even call sys.exit; the thread must outlive it.
            if len(batch) == 1:
                batch[0].error = _as_request_error(error)
                return
            middle = len(batch) // 2
            self._score(batch[:middle])
            self._score(batch[middle:])
            return
        if len(batch) == 1:
            batch[0].result = result
            return
        start = 0
        for item in batch:
            item.result = result.slice(start, start + item.rows)
            start += item.rows


def _tell(item: QueueItem) -> None:
    try:
        item.done(item)
    except BaseException as error:  # The thread must outlive it.
        _logger.error("answering a request raised %s", type(error).__name__, exc_info=error)


def _timed_out(item: QueueItem) -> TimedOut:
    return TimedOut(f"no answer within {item.deadline - item.arrived:g} s; the model is too slow or too busy")


def _stopping() -> NotReady:
    return NotReady("the server is stopping; send the request again", [("Retry-After", "1")])


def _as_request_error(error: BaseException) -> RequestError:
    if isinstance(error, RequestError):
        return error
    # Without the message: it may quote the input, and inputs are never logged.
    _logger.error("the model raised %s", type(error).__name__, exc_info=error)
    return ModelFailed("the model failed on this input; the server's log says where")
