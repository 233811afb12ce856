"""A service under a load trace, in steps of a tenth of a second: pods with slots, a queue with a time limit, pods that
take their time to start.

Requests arrive as a Poisson process and take an exponential time. Any free slot takes the oldest waiting request, as a
router that knows the least loaded pod nearly does. What waits longer than the queue's limit is refused.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

STEP = 0.1
"""Seconds."""


@dataclass(frozen=True)
class Service:
    """What is scaled; times in seconds, `target` in percent."""

    slots: int
    seconds: float
    queue_seconds: float
    start_seconds: float
    target: int
    min_replicas: int
    max_replicas: int


@dataclass(frozen=True)
class Seen:
    """What a scaler may know at a moment."""

    second: float
    asked: int
    """Pods asked for."""
    ready: int
    busy: int
    queued: int


Scaler = Callable[[Seen], int]
"""Asked ten times a second how many pods there should be; keeps its own rhythm."""


@dataclass
class Outcome:
    """What came of it."""

    served: int = 0
    refused: int = 0
    waits: dict[int, int] = field(default_factory=dict)
    """Steps that requests waited for a slot → how many did."""
    busy_seconds: float = 0.0
    """Seconds that slots were busy."""
    slot_seconds: float = 0.0
    """Seconds that slots of ready pods were there."""
    pod_seconds: float = 0.0
    """Seconds that pods were there, starting ones included."""
    changes: int = 0

    @property
    def utilization(self) -> float:
        """The part of the slots that was busy."""
        return self.busy_seconds / self.slot_seconds

    @property
    def hours(self) -> float:
        """Replica-hours."""
        return self.pod_seconds / 3600

    @property
    def refused_share(self) -> float:
        """The part of the requests that was refused."""
        return self.refused / max(self.served + self.refused, 1)

    def wait(self, part: float) -> float:
        """Seconds that this part of the requests waited for a slot at most."""
        left = part * sum(self.waits.values())
        for steps in sorted(self.waits):
            left -= self.waits[steps]
            if left <= 0:
                return steps * STEP
        return 0.0


def rates(pieces: Sequence[Sequence[float]]) -> np.ndarray:
    """Requests a second for each step of a trace."""
    return np.concatenate([np.linspace(first, last, round(seconds / STEP)) for seconds, first, last in pieces])


def simulate(service: Service, trace: np.ndarray, scaler: Scaler, seed: int) -> Outcome:
    """Replay `trace` (requests/s for each step); the same seed brings the same requests to every scaler."""
    arrivals = np.random.default_rng(seed).poisson(trace * STEP)
    endings = np.random.default_rng(seed + 1)
    outcome, pods = Outcome(), _Pods(service)
    waiting: deque[list[int]] = deque()  # [step of arrival, how many]
    queued = busy = 0
    finishing = STEP / service.seconds  # a step: the mean is `service.seconds`
    for step, new in enumerate(arrivals.tolist()):
        second = step * STEP
        ready = pods.at(second)
        busy -= int(endings.binomial(busy, finishing)) if busy else 0
        if new:
            waiting.append([step, new])
            queued += new
        queued -= _refuse(waiting, step - round(service.queue_seconds / STEP), outcome)
        started = _start(waiting, max(ready * service.slots - busy, 0), step, outcome)
        busy, queued = busy + started, queued - started
        outcome.busy_seconds += min(busy, ready * service.slots) * STEP
        outcome.slot_seconds += ready * service.slots * STEP
        outcome.pod_seconds += pods.asked * STEP
        wanted = scaler(Seen(second, pods.asked, ready, busy, queued))
        outcome.changes += wanted != pods.asked
        pods.ask(wanted, second)
    return outcome


class _Pods:
    """Pods that were asked for, and when they answer."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ready_at = [0.0] * service.min_replicas

    @property
    def asked(self) -> int:
        return len(self._ready_at)

    def at(self, second: float) -> int:
        """Pods that are ready then."""
        return sum(moment <= second for moment in self._ready_at)

    def ask(self, number: int, second: float) -> None:
        """More pods start; of fewer, those go first that have not started, as a ReplicaSet does it."""
        while len(self._ready_at) < number:
            self._ready_at.append(second + self._service.start_seconds)
        self._ready_at.sort()
        del self._ready_at[number:]


def _refuse(waiting: deque[list[int]], before: int, outcome: Outcome) -> int:
    refused = 0
    while waiting and waiting[0][0] < before:
        refused += waiting.popleft()[1]
    outcome.refused += refused
    return refused


def _start(waiting: deque[list[int]], free: int, step: int, outcome: Outcome) -> int:
    started = 0
    while waiting and free > started:
        arrived, number = waiting[0]
        taken = min(number, free - started)
        outcome.waits[step - arrived] = outcome.waits.get(step - arrived, 0) + taken
        started += taken
        if taken == number:
            waiting.popleft()
        else:
            waiting[0][1] -= taken
    outcome.served += started
    return started
