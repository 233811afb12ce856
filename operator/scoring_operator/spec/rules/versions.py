"""What versions have to keep, and how the traffic moves between them."""

from scoring_operator.spec import patterns, wire
from scoring_operator.spec.objects import Rollout
from scoring_operator.spec.rules.models import ACCELERATED
from scoring_operator.spec.rules.rule import Rule, Table, matches


def _steps_go_up_to_100(rollout: wire.Rollout) -> bool:
    steps = rollout.steps
    return steps is None or (steps == sorted(set(steps)) and steps[-1:] == [100])


def _steps_end_before_the_deadline(rollout: wire.Rollout) -> bool:
    interval, deadline = rollout.interval_seconds, rollout.deadline_seconds
    return (interval or Rollout.interval_seconds) < (deadline or Rollout.deadline_seconds)


VERSIONS: Table = {
    wire.Version: (
        Rule(
            "the name of a version must start with a letter and have only lower-case letters, digits and hyphens, at "
            "most 15 of them: write a name such as v2",
            matches("name", patterns.DNS_LABEL),
            "name",
        ),
        *ACCELERATED,
        Rule(
            "a version either gets a share of the traffic or a mirror of it: remove traffic or mirror",
            lambda version: not (version.traffic and version.mirror),
        ),
    ),
    wire.Rollout: (
        Rule(
            "steps must go up and end with 100: write [5, 25, 50, 100]",
            _steps_go_up_to_100,
            "steps",
        ),
        Rule(
            "action: Abort and action: Promote are about one version: name it in version, so that the next version is "
            "not meant as well",
            lambda rollout: rollout.action not in ("Abort", "Promote") or rollout.version is not None,
        ),
        Rule(
            "a step must end before its deadline: write a deadlineSeconds (3600 if left out) that is larger than "
            "intervalSeconds (60 if left out)",
            _steps_end_before_the_deadline,
        ),
    ),
    wire.Sticky: (
        Rule(
            "header must be the name of a header, with letters, digits, hyphens and underscores only: write x-user-id",
            matches("header", patterns.HEADER),
            "header",
        ),
    ),
}
