"""What a rollout does next: a pure function of what it is to be, how far it is, what was measured, and the time.

| phase       | goes on to  | when                                                                              |
|-------------|-------------|-----------------------------------------------------------------------------------|
| Waiting     | Progressing | the new version has ready pods and the router is in force: the first step         |
| Progressing | Progressing | interval and minRequests are reached without a complaint: the next step           |
| Progressing | Promoted    | the same at the last step                                                         |
| any of them | RolledBack  | there is a complaint, or the deadline of the step has passed                      |
| any of them | Paused      | the user asks for it; judged on, and back again when the user no longer does      |
| any         | RolledBack, Promoted | the user asks for it                                                     |
| RolledBack  | Waiting     | the version, the steps or the limits change, or the user no longer asks to abort  |
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace

from scoring_operator.rollout.counts import Counts, Summary
from scoring_operator.rollout.judgement import complaint
from scoring_operator.rollout.state import Met, Phase, Record, State, Why
from scoring_operator.spec import Rollout, RolloutAction, ScoringService

_SHORTEST_LOOK, _LONGEST_LOOK = 1.0, 10.0
_LOOKS = 6
"""How often the routers are looked at in an interval."""


@dataclass(frozen=True)
class Situation:
    """What of a service decides about its rollout."""

    versions: Mapping[str, str]
    """Version → its spec hash."""
    default: str
    plan: Rollout | None
    ready: Collection[str] = ()
    """The versions with ready pods."""
    split: bool = False
    """Whether the requests go through the router."""


@dataclass(frozen=True)
class Measured:
    """What the routers counted, as far as this operator saw it."""

    since: dt.datetime
    """When the counting of this step began."""
    new: Counts = field(default_factory=Counts)
    """Of the new version at this step."""
    old: Counts = field(default_factory=Counts)
    """Of the old version, since this operator looks at the rollout."""
    fresh: Met = field(default_factory=Met)
    """What came on top since the last time."""
    grown: Mapping[str, Counts] = field(default_factory=dict)
    """The same, by version."""
    problem: str = ""
    """Why the routers could not be asked; empty when they could."""


@dataclass(frozen=True)
class _View:
    """What a step is decided from, besides the state and the plan."""

    situation: Situation
    measured: Measured | None
    now: dt.datetime


def situation_of(service: ScoringService, ready: Collection[str], *, split: bool) -> Situation:
    """The situation of a service; a Gateway splits without telling what it counts, so there is no rollout with one."""
    return Situation(
        versions={version.name: version.spec_hash for version in service.versions},
        default=service.default_version.name,
        plan=service.rollout if service.gateway is None else None,
        ready=ready,
        split=split,
    )


def advance(record: Record, situation: Situation, measured: Measured | None, now: dt.datetime) -> Record:
    """The record after this moment (aware). Without a rollout in the spec, a new default version is stable at once."""
    stable, plan, now = record.stable, situation.plan, now.replace(microsecond=0)
    if stable is None or plan is None:
        return Record(situation.default)
    if stable == situation.default:
        return _at_rest(record)
    view = _View(situation, measured, now)
    if stable not in situation.versions:
        return _without_the_old(stable, plan, view)
    state = record.state
    if state is None or not _is_about(state, stable, situation, plan):
        state = _begun(stable, plan, view)
    state = _next(replace(state, plan_hash=_plan_hash(plan)), plan, view)
    return Record(state.new if state.phase is Phase.PROMOTED else stable, state)


def next_look(record: Record, situation: Situation, now: dt.datetime) -> float | None:
    """Seconds until the rollout wants a pass; None when only an event can change something."""
    state, plan = record.state, situation.plan
    if state is None or plan is None or state.phase.ended:
        return None
    if state.share:
        return min(max(plan.interval_seconds / _LOOKS, _SHORTEST_LOOK), _LONGEST_LOOK)
    if state.phase is Phase.PAUSED:
        return None
    return max(plan.deadline_seconds - (now - state.since).total_seconds(), _SHORTEST_LOOK)


def _is_about(state: State, stable: str, situation: Situation, plan: Rollout) -> bool:
    """Whether the state is that of the rollout that the spec asks for, and not to begin anew."""
    new = situation.default
    if (state.old, state.new, state.new_hash) != (stable, new, situation.versions[new]):
        return False
    if state.phase is not Phase.ROLLED_BACK:
        return True
    taken_back = state.why is Why.ASKED and plan.asked(new) is not RolloutAction.ABORT
    return state.plan_hash == _plan_hash(plan) and not taken_back


def _at_rest(record: Record) -> Record:
    """The stable version is the default: what remains is how the last rollout to it ended."""
    state = record.state
    told = state is not None and state.phase is Phase.PROMOTED and state.new == record.stable
    return record if told else Record(record.stable)


def _begun(stable: str, plan: Rollout, view: _View) -> State:
    new = view.situation.default
    return State(
        phase=Phase.WAITING,
        old=stable,
        new=new,
        new_hash=view.situation.versions[new],
        plan_hash=_plan_hash(plan),
        since=view.now,
        started=view.now,
        message=_wait_message(stable, new),
    )


def _without_the_old(stable: str, plan: Rollout, view: _View) -> Record:
    state = replace(
        _begun(stable, plan, view),
        phase=Phase.PROMOTED,
        share=100,
        why=Why.OLD_VERSION_GONE,
        message=f"{stable} is no longer in the spec: {view.situation.default} took over without steps",
    )
    return Record(state.new, state)


def _next(state: State, plan: Rollout, view: _View) -> State:
    if view.measured is not None:
        state = _told(state, view.measured, plan)
    asked = plan.asked(state.new)
    if asked is RolloutAction.PROMOTE:
        return _promoted(state, Why.ASKED, view.now, f"{state.new} was promoted as asked")
    if state.phase is Phase.ROLLED_BACK:
        return state
    if asked is RolloutAction.ABORT:
        return _rolled_back(state, Why.ASKED, view.now, f"{state.new} was rolled back as asked")
    wrong = _complaint(state, plan, view)
    if wrong is not None:
        return _rolled_back(state, Why.JUDGED_BAD, view.now, f"{state.new} was rolled back: {wrong}")
    if asked is RolloutAction.PAUSE:
        return _paused(state)
    return _resumed(state, plan, view) if state.phase is Phase.PAUSED else _moved(state, plan, view)


def _moved(state: State, plan: Rollout, view: _View) -> State:
    """The next step if it is time for it, the end if it is too late."""
    ready = state.new in view.situation.ready
    if state.phase is Phase.WAITING and ready and view.situation.split:
        return _at_step(state, plan, view)
    if ready and _due(state, plan, view) and state.candidate.requests >= plan.analysis.min_requests:
        return _at_step(state, plan, view)
    late = (view.now - state.since).total_seconds() >= plan.deadline_seconds
    return _not_judged(state, plan, view) if late else state


def _told(state: State, measured: Measured, plan: Rollout) -> State:
    """The state with what was measured noted in it."""
    met, fresh, old = state.met, measured.fresh, measured.old.summary
    enough = old.requests >= max(1, min(plan.analysis.min_requests, state.baseline.requests))
    if state.phase is Phase.PROGRESSING:
        problem = f"; {measured.problem}" if measured.problem else ""
        state = replace(state, message=_step_message(state, plan) + problem)
    return replace(
        state,
        met=Met(met.requests + fresh.requests, met.errors + fresh.errors, met.of + fresh.of),
        candidate=measured.new.summary,
        baseline=old if enough else state.baseline,  # an operator that has just begun to look knows less
    )


def _due(state: State, plan: Rollout, view: _View) -> bool:
    """Whether the step has lasted for its interval, also as far as this operator saw it."""
    if state.phase is not Phase.PROGRESSING or view.measured is None:
        return False
    began = max(state.since, view.measured.since)
    return (view.now - began).total_seconds() >= plan.interval_seconds


def _complaint(state: State, plan: Rollout, view: _View) -> str | None:
    if view.measured is None or state.share == 0:
        return None
    return complaint(plan.analysis, view.measured.new, state.baseline, at_the_end=_due(state, plan, view))


def _at_step(state: State, plan: Rollout, view: _View) -> State:
    """The next step; promoted after the last one."""
    share = next((step for step in plan.steps if step > state.share), None)
    if share is None:
        message = f"{state.new} was promoted: it kept every limit at every step"
        return _promoted(state, Why.JUDGED_GOOD, view.now, message)
    moved = replace(state, phase=Phase.PROGRESSING, since=view.now, share=share, candidate=Summary())
    return replace(moved, message=_step_message(moved, plan))


def _paused(state: State) -> State:
    if state.phase is Phase.PAUSED:
        return state
    message = f"paused as asked: {state.new} keeps {state.share} % of the default's traffic"
    return replace(state, phase=Phase.PAUSED, message=message)


def _resumed(state: State, plan: Rollout, view: _View) -> State:
    """Back at the step, or at the wait for the first one, from the beginning of it."""
    if state.share == 0:
        return replace(state, phase=Phase.WAITING, since=view.now, message=_wait_message(state.old, state.new))
    return replace(state, phase=Phase.PROGRESSING, since=view.now, message=_step_message(state, plan))


def _wait_message(old: str, new: str) -> str:
    return f"{new} gets its first share when it has ready pods and the router is in force; {old} answers"


def _step_message(state: State, plan: Rollout) -> str:
    number = sum(step <= state.share for step in plan.steps)
    return (
        f"step {number} of {len(plan.steps)}: {state.new} has {state.share} % of the default's traffic, "
        f"for at least {plan.interval_seconds} s and {plan.analysis.min_requests} requests"
    )


def _promoted(state: State, why: Why, now: dt.datetime, message: str) -> State:
    return replace(state, phase=Phase.PROMOTED, share=100, since=now, why=why, message=message)


def _rolled_back(state: State, why: Why, now: dt.datetime, message: str) -> State:
    met = state.met
    if met.requests:
        message += f"; {met.requests} of {met.of} requests met it ({met.percent:.1f} %)"
    back = f"{state.old} has the default's traffic again" if state.share else f"{state.old} keeps the default's traffic"
    return replace(state, phase=Phase.ROLLED_BACK, share=0, since=now, why=why, message=f"{message}; {back}")


def _not_judged(state: State, plan: Rollout, view: _View) -> State:
    wanted = plan.analysis.min_requests
    if state.new not in view.situation.ready:
        cause = "it has no ready pods"
    elif view.measured is not None and view.measured.problem:
        cause = view.measured.problem
    elif state.share == 0:
        cause = "the router is not ready"
    else:
        cause = f"it got {state.candidate.requests} requests, and analysis.minRequests is {wanted}"
    message = f"{state.new} was rolled back: it could not be judged within {plan.deadline_seconds} s, because {cause}"
    return _rolled_back(state, Why.NOT_JUDGED, view.now, message)


def _plan_hash(plan: Rollout) -> str:
    said = asdict(plan)
    del said["action"], said["version"]
    return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:16]
