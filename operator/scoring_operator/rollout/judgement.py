"""Whether a new version may go on: pure.

A limit of the user's is taken at its word when a step ends, and before that as soon as chance cannot explain the
numbers. Where the user sets no limit, the old version is the measure, and then only what chance cannot explain counts.
"""

from scoring_operator.rollout.counts import Counts, Summary, surely_different, surely_more
from scoring_operator.spec import Analysis

SLOWER = 2.0
"""How many times the old version's p99 a request has to take to count as slow, where no limit says it."""
SPARE_MILLISECONDS = 5.0
"""On top of that, since the durations of fast versions are mostly noise."""
_SLOW_SHARE = 0.01


def complaint(analysis: Analysis, new: Counts, old: Summary, *, at_the_end: bool) -> str | None:
    """What is wrong with the new version, as one sentence; None when nothing is, or too few requests tell.

    `at_the_end` of a step the limits are taken literally.
    """
    if new.requests < analysis.min_requests:
        return None
    return _errors(analysis, new, old, literally=at_the_end) or _latency(analysis, new, old, literally=at_the_end)


def _errors(analysis: Analysis, new: Counts, old: Summary, *, literally: bool) -> str | None:
    limit, percent = analysis.max_error_percent, 100 * new.errors / new.requests
    failed = f"{_number(percent)} % of {new.requests} requests failed"
    if limit is not None:
        if (literally and percent > limit) or surely_more(new.errors, new.requests, limit / 100):
            return f"{failed} (analysis.maxErrorPercent: {limit:g})"
    elif old.requests >= analysis.min_requests and surely_different(new.errors, new.requests, old.errors, old.requests):
        return f"{failed}, and {_number(100 * old.errors / old.requests)} % of the old version's {old.requests}"
    return None


def _latency(analysis: Analysis, new: Counts, old: Summary, *, literally: bool) -> str | None:
    limit, p99 = analysis.max_p99_milliseconds, new.p99
    if p99 is None:
        return None
    took = f"the p99 of {new.timed} requests is {p99:.0f} ms"
    if limit is not None:
        if (literally and p99 > limit) or surely_more(new.slower_than(limit), new.timed, _SLOW_SHARE):
            return f"{took} (analysis.maxP99Milliseconds: {limit})"
    elif old.p99_milliseconds is not None and old.requests >= analysis.min_requests:
        bound = SLOWER * old.p99_milliseconds + SPARE_MILLISECONDS
        if surely_more(new.slower_than(bound), new.timed, _SLOW_SHARE):
            return f"{took}, and the old version's {old.p99_milliseconds} ms"
    return None


def _number(percent: float) -> str:
    return f"{percent:.1f}".removesuffix(".0")
