"""The queue in front of the model: requests are scored together while the model is busy.

One thread owns the model. When it becomes free it takes what waits, up to the batch limit, and never waits for more
unless it is told to: an idle model answers at once, and a busy one fills its batches by itself. `predict` costs about
the same for 1 row as for 32 in most models, so this is most of the speed at no cost in latency.

Who may wait: the first `slots` requests that are not finished hold a slot. The ones behind them wait for a slot, each
for a limited time; then they are turned away. A request that holds a slot waits for its answer until its time limit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
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
    """One request in the queue, from its arrival to its answer."""

    # `batch` is set by a queue that is traced, and by nobody else.
    __slots__ = ("arrived", "batch", "done", "error", "inputs", "key", "method", "result", "rows")
    batch: object

    def __init__(self, inputs: Tensors, method: str) -> None:
        self.inputs = inputs
        self.method = method
        self.rows = len(inputs)
        self.key = (method, inputs.signature)
        self.arrived = time.monotonic()
        self.result: Tensors | None = None
        self.error: RequestError | None = None
        # A bare lock is the cheapest thing that a thread can wait on with a time limit; released means answered.
        self.done = threading.Lock()
        self.done.acquire()


class BatchQueue:
    """Scores requests of many threads in batches on one. `close` ends its thread."""

    def __init__(self, model: Model, limits: Limits, observer: Observer | None = None) -> None:
        self._model = model
        self._limits = limits
        self._observer = observer
        self._lock = threading.Lock()
        self._waiting: deque[QueueItem] = deque()
        self._running = 0
        self._asleep = False
        self._closed = False
        # Released exactly once for each time that `_asleep` is cleared.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def score(self, inputs: Tensors, method: str, seconds: float = math.inf) -> Tensors:
        """Return the model's answer for prepared `inputs`; blocks until it is there, at most `seconds`.

        Raises Overloaded when no slot became free in time, TimedOut when the answer was not there in time, and what
        the model raised for these inputs.
        """
        item = QueueItem(inputs, method)
        self._enter(item)
        timeout = min(seconds, self._limits.timeout)
        if not item.done.acquire(timeout=min(self._limits.max_queue_wait, timeout)):
            left = item.arrived + timeout - time.monotonic()
            if left > 0:
                self._leave_if_without_slot(item)
            if not item.done.acquire(timeout=max(left, 0)):
                self._drop(item)
                raise TimedOut(f"no answer within {timeout:g} s; the model is too slow or too busy")
        if item.error is not None:
            raise item.error
        assert item.result is not None
        return item.result

    def load(self) -> Load:
        """Return how busy the queue is now."""
        with self._lock:
            present = self._running + len(self._waiting)
        slots = self._limits.slots
        return Load(min(present, slots), max(present - slots, 0), slots)

    def close(self, seconds: float | None = None) -> None:
        """Refuse new requests, let the model finish its batch, answer the rest with NotReady and end the thread.

        Waits for the batch at most `seconds`, without a number as long as it takes.
        """
        with self._lock:
            self._closed = True
            dropped, self._waiting = self._waiting, deque()
            asleep, self._asleep = self._asleep, False
        for item in dropped:
            item.error = _stopping()
            item.done.release()
        if asleep:
            self._wake.release()
        self._thread.join(seconds)

    def _enter(self, item: QueueItem) -> None:
        with self._lock:
            if self._closed:
                raise _stopping()
            if self._running + len(self._waiting) >= self._limits.max_requests:
                raise self._overloaded()
            self._waiting.append(item)
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._wake.release()

    def _leave_if_without_slot(self, item: QueueItem) -> None:
        with self._lock:
            if item not in self._waiting:
                return
            if self._running + self._waiting.index(item) < self._limits.slots:
                return
            self._waiting.remove(item)
        raise self._overloaded()

    def _drop(self, item: QueueItem) -> None:
        with self._lock:
            if item in self._waiting:
                self._waiting.remove(item)

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
        added = 0
        while self._waiting and rows < self._limits.max_rows:
            item = self._waiting.popleft()
            if item.key == key and rows + item.rows <= self._limits.max_rows:
                batch.append(item)
                rows += item.rows
                added += 1
            else:
                others.append(item)
        self._waiting.extendleft(reversed(others))
        self._running = len(batch)

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
        # The slots are free before anyone wakes up, so that the load never counts an answered request.
        with self._lock:
            self._running = 0
        for item in batch:
            item.done.release()
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


def _stopping() -> NotReady:
    return NotReady("the server is stopping; send the request again", [("Retry-After", "1")])


def _as_request_error(error: BaseException) -> RequestError:
    if isinstance(error, RequestError):
        return error
    # Without the message: it may quote the input, and inputs are never logged.
    _logger.error("the model raised %s", type(error).__name__, exc_info=error)
    return ModelFailed("the model failed on this input; the server's log says where")
