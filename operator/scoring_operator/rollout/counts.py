"""What was counted of a version's requests, and what can be concluded from it: pure.

Shares of failed or slow requests are compared by Wilson's score interval, which is right for few requests too
(E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Latency = Mapping[float, int]
"""Upper bound in milliseconds → requests that took no longer than it and longer than the bound before it."""

_CERTAINTY = 3.0
"""How many standard deviations make a difference that is no chance: 3 is once in 700 times."""
_P99 = 0.99


@dataclass(frozen=True)
class Counts:
    """What was counted of the requests to one version."""

    requests: int = 0
    errors: int = 0
    """Those answered with a status of 500 and more, by the pods or for want of them."""
    latency: Latency = field(default_factory=dict)

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        bounds = sorted({*self.latency, *other.latency})
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            {bound: self.latency.get(bound, 0) + other.latency.get(bound, 0) for bound in bounds},
        )

    @property
    def timed(self) -> int:
        """Requests whose duration is known."""
        return sum(self.latency.values())

    def slower_than(self, milliseconds: float) -> int:
        """Requests that certainly took longer."""
        below, slower = 0.0, 0
        for bound in sorted(self.latency):
            if below >= milliseconds:
                slower += self.latency[bound]
            below = bound
        return slower

    @property
    def p99(self) -> float | None:
        """The time in milliseconds within which 99 of 100 requests were answered; None without any.

        Inside a bucket durations are taken to be spread evenly; above the last bound nothing is known but the bound.
        """
        rank, seen, below = _P99 * self.timed, 0, 0.0
        for bound in sorted(self.latency):
            count = self.latency[bound]
            if count and seen + count >= rank:
                return below if math.isinf(bound) else below + (bound - below) * (rank - seen) / count
            seen, below = seen + count, bound
        return None

    @property
    def summary(self) -> "Summary":
        """The counts as people read them."""
        p99 = self.p99
        return Summary(self.requests, self.errors, None if p99 is None else math.ceil(p99))


@dataclass(frozen=True)
class Summary:
    """Counts without the distribution of the durations."""

    requests: int = 0
    errors: int = 0
    p99_milliseconds: int | None = None


def surely_more(hits: int, of: int, share: float) -> bool:
    """Whether `hits` of `of` requests cannot well be a chance result where the true share is `share` (0 to 1)."""
    return of > 0 and _wilson(hits, of, -1) > share


def surely_different(hits: int, of: int, other_hits: int, other_of: int) -> bool:
    """Whether the first share is larger than the second one by more than chance makes it."""
    return of > 0 and other_of > 0 and _wilson(hits, of, -1) > _wilson(other_hits, other_of, 1)


def _wilson(hits: int, of: int, side: int) -> float:
    """The lower (-1) or upper (1) end of the interval in which the true share lies."""
    square = _CERTAINTY**2
    middle = hits + square / 2
    spread = _CERTAINTY * math.sqrt(hits * (of - hits) / of + square / 4)
    return (middle + side * spread) / (of + square)
