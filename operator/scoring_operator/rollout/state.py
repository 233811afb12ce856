"""How far the rollout of a version is, as `status.rollout` and `status.stableVersion` hold it.

Nothing about a rollout is remembered anywhere else that it needs to go on: an operator that starts anew reads it here.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from scoring_operator.rollout.counts import Summary


class Phase(StrEnum):
    """The phases of a rollout."""

    WAITING = "Waiting"
    """The new version gets nothing yet."""
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK)


class Why(StrEnum):
    """Why a rollout ended."""

    JUDGED_GOOD = "JudgedGood"
    JUDGED_BAD = "JudgedBad"
    NOT_JUDGED = "NotJudged"
    """There were too few requests, or no ready pods, until the deadline."""
    ASKED = "Asked"
    """The user asked for it by an action."""
    OLD_VERSION_GONE = "OldVersionGone"


@dataclass(frozen=True)
class Met:
    """How many requests met the new version since the rollout began."""

    requests: int = 0
    errors: int = 0
    of: int = 0
    """All requests to the service in that time."""

    @property
    def percent(self) -> float:
        """The share of all requests that met the new version."""
        return 100 * self.requests / self.of if self.of else 0.0


@dataclass(frozen=True)
class State:
    """How far a rollout is."""

    phase: Phase
    old: str
    new: str
    new_hash: str
    """The spec hash of the new version: a change of it begins anew."""
    plan_hash: str
    """Of steps and limits: a change of them gives a version that was rolled back another chance."""
    since: dt.datetime
    """When the step, or the wait for it, began; whole seconds."""
    started: dt.datetime
    share: int = 0
    """Percent of what the default version is to get that the new version has."""
    message: str = ""
    why: Why | None = None
    """Set if and only if the rollout has ended."""
    candidate: Summary = field(default_factory=Summary)
    """What was counted of the new version at this step."""
    baseline: Summary = field(default_factory=Summary)
    """What was counted of the old version since the rollout began."""
    met: Met = field(default_factory=Met)


@dataclass(frozen=True)
class Record:
    """What a service's status remembers: the version that has proved itself, and the rollout of the next one."""

    stable: str | None = None
    """None for a service that has no status yet."""
    state: State | None = None

    @property
    def share(self) -> int | None:
        """The share of a rollout that has not been promoted; None without one."""
        return None if self.state is None or self.state.phase is Phase.PROMOTED else self.state.share


def read_record(status: Mapping[str, Any]) -> Record:
    """The record in a status; what cannot be read there counts as nothing."""
    try:
        state = _state(status["rollout"]) if "rollout" in status else None
    except (KeyError, TypeError, ValueError):
        state = None
    return Record(status.get("stableVersion"), state)


def record_status(record: Record) -> dict[str, Any]:
    """The fields of the status that hold the record."""
    fields: dict[str, Any] = {} if record.stable is None else {"stableVersion": record.stable}
    return fields if record.state is None else {**fields, "rollout": _fields(record.state)}


def _state(found: Mapping[str, Any]) -> State:
    met = found["met"]
    return State(
        phase=Phase(found["phase"]),
        old=str(found["from"]),
        new=str(found["to"]),
        new_hash=str(found["versionHash"]),
        plan_hash=str(found["planHash"]),
        since=_moment(found["since"]),
        started=_moment(found["startedAt"]),
        share=int(found["share"]),
        message=str(found["message"]),
        why=Why(found["reason"]) if "reason" in found else None,
        candidate=_summary(found["candidate"]),
        baseline=_summary(found["baseline"]),
        met=Met(int(met["requests"]), int(met["errors"]), int(met["of"])),
    )


def _fields(state: State) -> dict[str, Any]:
    return {
        "phase": str(state.phase),
        **({"reason": str(state.why)} if state.why else {}),
        "message": state.message,
        "from": state.old,
        "to": state.new,
        "share": state.share,
        "since": _text(state.since),
        "startedAt": _text(state.started),
        "candidate": _summary_fields(state.candidate),
        "baseline": _summary_fields(state.baseline),
        "met": {"requests": state.met.requests, "errors": state.met.errors, "of": state.met.of},
        "versionHash": state.new_hash,
        "planHash": state.plan_hash,
    }


def _summary(found: Mapping[str, Any]) -> Summary:
    p99 = found.get("p99Milliseconds")
    return Summary(int(found["requests"]), int(found["errors"]), None if p99 is None else int(p99))


def _summary_fields(summary: Summary) -> dict[str, int]:
    fields = {"requests": summary.requests, "errors": summary.errors}
    return fields if summary.p99_milliseconds is None else {**fields, "p99Milliseconds": summary.p99_milliseconds}


def _moment(text: Any) -> dt.datetime:
    return dt.datetime.fromisoformat(str(text))


def _text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
