"""Slots that several queues share: `requestSettings` are those of a pod, whatever number of models it serves.

Each model keeps its queue and its thread, so a slow one delays no other. What they share is who holds a slot: of all
requests to all models that are not finished, the first so many. Whoever comes behind them waits for a limited time.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import ClassVar, cast

from scoring_runtime.batching import BatchQueue, Load, QueueItem


class Group:
    """The queues that share slots, and the one lock that they have for it."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        # A queue that lets a request in holds it twice.
        self.lock = threading.RLock()
        self.queues: list[BatchQueue] = []

    def load(self) -> Load:
        """Return how busy all queues together are."""
        with self.lock:
            present = self.present()
        return Load(min(present, self.slots), max(present - self.slots, 0), self.slots)

    def present(self) -> int:
        """Return how many requests are in all queues. Call with the lock held."""
        return sum(queue.present for queue in self.queues)

    def queue_type(self, base: type[BatchQueue]) -> type[BatchQueue]:
        """Return a kind of `base` whose queues belong to this group."""
        return cast(type[BatchQueue], type(f"Shared{base.__name__}", (SharedSlots, base), {"group": self}))


class SharedSlots(BatchQueue):
    """A queue of a group; see `Group.queue_type`."""

    group: ClassVar[Group]

    def _new_lock(self) -> AbstractContextManager[object]:
        self.group.queues.append(self)
        return self.group.lock

    def _enter(self, item: QueueItem) -> None:
        with self._lock:
            if self.group.present() >= self._room:
                raise self._overloaded()
            super()._enter(item)

    def _before(self, item: QueueItem, kept: int) -> int:
        others = (queue for queue in self.group.queues if queue is not self)
        return super()._before(item, kept) + sum(queue.earlier_than(item) for queue in others)
