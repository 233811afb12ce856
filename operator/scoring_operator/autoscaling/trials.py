"""What a rollout that is under way asks of the pods of its two versions: pure.

Each step moves load from the old version to the new one at once, and a rollback all of it back, while pods take their
time to start. So the new version is kept ready for its next step, the old one for everything, and neither sleeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scoring_operator.autoscaling.decision import Reading
from scoring_operator.rollout import read_record
from scoring_operator.spec import ScoringService


@dataclass(frozen=True)
class Part:
    """The part of a version in a rollout that has not ended."""

    old: str
    new: str
    percent: int
    """Percent of the requests to both that the version is to be ready for."""

    def other(self, version: str) -> str:
        """The version on the other side."""
        return self.old if version == self.new else self.new


def part_of(service: ScoringService, status: Mapping[str, Any], version: str) -> Part | None:
    """The part of `version` in the rollout of which the status speaks; None when it has none, or that has ended."""
    plan, state = service.rollout, read_record(status).state
    if plan is None or state is None or state.phase.ended or version not in (state.old, state.new):
        return None
    if version == state.old:
        return Part(state.old, state.new, 100)
    return Part(state.old, state.new, next((step for step in plan.steps if step > state.share), 100))


def weighed(part: Part, own: Reading, other: Reading | None) -> Reading:
    """`own` with the load that the version is to be ready for; `other` is that of the other version, if known."""
    if other is None:
        return own
    return replace(own, load=max(own.load, (own.load + other.load) * part.percent / 100))
