"""How many pods a version should have: a pure function of its bounds and of what was read from its pods, and when.

The need is `(busy + queued) / (target * slots of a pod)` pods, rounded up. A reading is a moment's count of requests,
and counts of steady traffic scatter, so:

- up, as soon as the mean of the last seconds needs more pods; and at once when two readings in a row find so many
  requests that the slots there are cannot have them by chance;
- down, when for a whole window nothing needed the pods, with some tolerance.

A pod that should answer and does not counts as idle where pods might be added, and as loaded to the target where pods
might be removed; when none answers, nothing is changed. A pod that is still starting is not asked and counts for
nothing: what it will take over is the load itself, which does not depend on how many pods there are.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from scoring_operator.spec import Autoscaling

WINDOW_SECONDS = 60.0
"""For how long fewer pods must have been enough before pods go."""
MEAN_SECONDS = 10.0
"""Over how many seconds readings are averaged."""
KEPT_SECONDS = WINDOW_SECONDS + MEAN_SECONDS
"""How old a reading may be to count for anything."""
_SETTLED_SECONDS = 4.0
"""How many seconds of readings make a mean; of fewer the smallest one counts."""
_TOLERANCE = 0.9
"""Pods go only if those that stay would be loaded to less than this part of the target."""
_SCATTER = 1.0
"""By how many of its standard errors the mean may be too low where pods might go."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PodLoad:
    """What one pod says of itself."""

    busy: int
    """Requests in slots."""
    queued: int
    """Requests that wait for a slot."""
    slots: int


@dataclass(frozen=True)
class Reading:
    """What all pods of a version said at one moment."""

    moment: float
    """Seconds of a steady clock."""
    load: float
    """Requests that run or wait in the pods that answered."""
    slots: float
    """Slots of one pod, on average."""
    answered: int
    """Pods that answered."""
    silent: int = 0
    """Pods that are ready and did not answer."""

    @property
    def full(self) -> bool:
        """Whether the requests are more than the slots hold, and more than chance would make of a fitting load."""
        room = max(self.answered, 1) * self.slots
        return self.load > room + 2 * math.sqrt(room) + 1


def reading(moment: float, answers: Sequence[PodLoad | None], slots: int) -> Reading:
    """The answers of all ready pods as one reading; None is a pod that did not answer.

    `slots` is what the spec says of a pod, for when no pod says it.
    """
    heard = [answer for answer in answers if answer is not None]
    return Reading(
        moment=moment,
        load=sum(answer.busy + answer.queued for answer in heard),
        slots=max(sum(answer.slots for answer in heard) / len(heard) if heard else slots, 1),
        answered=len(heard),
        silent=len(answers) - len(heard),
    )


def desired_replicas(bounds: Autoscaling, current: int, readings: Sequence[Reading]) -> int:
    """The pods to ask for, given the `current` number asked for and the readings so far, oldest first.

    Between max(minReplicas, 1) and maxReplicas: that nobody calls at all is not seen here (see `idle`).
    """
    smallest, largest = max(bounds.min_replicas, 1), max(bounds.max_replicas, 1)
    if not readings:
        return min(max(current, smallest), largest)
    target = bounds.target / 100
    needs = _needs(readings, target)
    rise = _pods(needs[-1].low)
    wanted = rise if rise > current else current
    now = readings[-1].moment
    if rise < current and now - readings[0].moment >= WINDOW_SECONDS:
        lately = max(need.high for need in needs if now - need.moment <= WINDOW_SECONDS)
        wanted = min(current, _pods(lately / _TOLERANCE)) if math.isfinite(lately) else current
        wanted = max(wanted, rise)
    return min(max(wanted, smallest), largest)


@dataclass(frozen=True)
class _Need:
    """Pods needed at a moment, not rounded."""

    moment: float
    low: float
    """What is sure."""
    high: float
    """What may be: silent pods are as loaded as the target, and the mean is higher than the readings happen to say."""


def _needs(readings: Sequence[Reading], target: float) -> Sequence[_Need]:
    """The need at the moment of each reading: the mean of the seconds before it, or a sudden rise."""
    found = []
    recent: deque[Reading] = deque()
    total, before = 0.0, None
    for one in readings:
        recent.append(one)
        total += one.load
        while one.moment - recent[0].moment > MEAN_SECONDS:
            total -= recent.popleft().load
        held = target * one.slots
        mean = max(total, 0.0) / len(recent)
        settled = one.moment - recent[0].moment >= _SETTLED_SECONDS
        leap = min(one.load, before.load) if before is not None and one.full and before.full else 0.0
        low = max(leap, mean if settled else min(past.load for past in recent)) / held
        high = max(leap, mean + _SCATTER * math.sqrt(mean / len(recent))) / held
        found.append(_Need(one.moment, low, high + one.silent if one.answered else math.inf))
        before = one
    return found


def _pods(need: float) -> int:
    return math.ceil(need - _ROUNDING)
