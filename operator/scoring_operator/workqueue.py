"""The queue between watch events and workers: each key once, never twice at the same time, retried with backoff.

A key that is added while it waits is one piece of work; added while it is worked on, it is worked on once more
afterwards. So any number of events about a service costs at most one pass behind the pass that is running, and no pass
ever races with another for the same service. Errors come back with growing, jittered delays; a pass may also ask to be
repeated after a time of its own choice.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from scoring_operator.errors import OperatorError

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """How long a failing key waits: `first` seconds, doubled with each failure up to `limit`, minus up to a half."""

    first: float = 0.5
    limit: float = 120.0

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after `failures` failures in a row; `chance` in [0, 1) spreads keys that fail together."""
        full = min(self.limit, self.first * 2.0 ** min(failures - 1, 30))
        return full * (1 - chance / 2)


class WorkQueue(Generic[K]):
    """Keys waiting for work; see the module's text for what it promises. Belongs to one event loop."""

    def __init__(self, backoff: Backoff | None = None, chance: Callable[[], float] = random.random) -> None:
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        """The keys in `_ready`, for looking them up."""
        self._started: dict[K, float] = {}
        """When the keys now worked on were begun, in the loop's time."""
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        """How many keys wait for a worker now."""
        return len(self._ready)

    @property
    def retrying(self) -> int:
        """How many keys failed the last time they were worked on."""
        return len(self._failures)

    @property
    def active(self) -> int:
        """How many keys are being worked on."""
        return len(self._started)

    def longest_running(self) -> float:
        """Seconds since the oldest piece of work in progress was begun; 0 when none is: the queue's heartbeat."""
        if not self._started:
            return 0.0
        return asyncio.get_running_loop().time() - min(self._started.values())

    def add(self, key: K) -> None:
        """Have `key` worked on as soon as possible."""
        if key in self._started:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wakeup.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have `key` worked on in `seconds`, or sooner if something adds it; replaces an earlier delay."""
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def forget(self, key: K) -> None:
        """Drop what is remembered of `key` (its failures and its delay); work that was already asked for stays."""
        self._failures.pop(key, None)
        self._cancel_timer(key)

    async def get(self) -> K:
        """The next key, marked as being worked on until `done` is called for it."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._cancel_timer(key)
        self._started[key] = asyncio.get_running_loop().time()
        return key

    def done(self, key: K) -> None:
        """End the work on `key`; it is queued again if something added it meanwhile."""
        del self._started[key]
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def succeeded(self, key: K, requeue_after: float | None) -> None:
        """Note that the pass of `key` went well, and when the next is wanted without an event (seconds, or never)."""
        self._failures.pop(key, None)
        if requeue_after is not None:
            self.add_after(key, requeue_after)

    def failed(self, key: K) -> float:
        """Note a failure of `key` and plan its retry; returns the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(failures, self._chance())
        self.add_after(key, delay)
        return delay

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()


async def work(queue: WorkQueue[K], process: Callable[[K], Awaitable[float | None]], workers: int) -> None:
    """Work on keys with `workers` tasks until cancelled.

    `process` does one pass and returns after how many seconds the next is wanted (None: only on an event). What it
    raises is logged and retried with backoff.
    """
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(_worker(queue, process), name=f"worker {number}")


async def _worker(queue: WorkQueue[K], process: Callable[[K], Awaitable[float | None]]) -> None:
    while True:
        key = await queue.get()
        try:
            queue.succeeded(key, await process(key))
        except OperatorError as error:
            delay = queue.failed(key)
            logger.warning("a pass is repeated in %.1f s: %s", delay, error, extra={"service": str(key)})
        except Exception as error:
            delay = queue.failed(key)
            logger.exception(
                "a pass failed and is repeated in %.1f s: %s", delay, type(error).__name__, extra={"service": str(key)}
            )
        finally:
            queue.done(key)
