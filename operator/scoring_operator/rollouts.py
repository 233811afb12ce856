"""Carries out the rollouts of services: reads how far one is, has the routers asked, and writes down what comes next.

What comes next is in the status before anything is done about it. So an operator that dies in between does not forget
that a version was rolled back, and the next one only has to make the shares what the status says.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

from scoring_operator.conditions import Cause
from scoring_operator.errors import Reason
from scoring_operator.kinds import SCORING_SERVICE
from scoring_operator.kube import Kube, KubeObject
from scoring_operator.rollout import (
    Phase,
    Record,
    Situation,
    State,
    advance,
    next_look,
    read_record,
    record_status,
    situation_of,
)
from scoring_operator.rollout_metrics import RolloutMetrics
from scoring_operator.router_metrics import RouterMetrics
from scoring_operator.spec import ScoringService
from scoring_operator.status import status_patch
from scoring_operator.store import ServiceKey, Store
from scoring_operator.traffic import ROUTER, Live, Trial


@dataclass(frozen=True)
class Carried:
    """Where a rollout is after a pass."""

    record: Record
    live: Live
    """What of the service is there, with the rollout."""
    next_pass: float | None = None
    """Seconds until the rollout wants another one; None when only an event can change something."""


class Rollouts:
    """Takes the rollouts of services on, pass by pass."""

    def __init__(self, kube: Kube, store: Store, routers: RouterMetrics, metrics: RolloutMetrics) -> None:
        self._kube = kube
        self._store = store
        self._routers = routers
        self._metrics = metrics

    async def take_on(self, service: ScoringService, raw: KubeObject, live: Live, now: dt.datetime) -> Carried:
        """The rollout of `service` at this moment; what is new about it has been written to the status.

        Raises what the API server answers, also when the status cannot be written.
        """
        before = read_record(raw.get("status") or {})
        awake = [name for name in live.ready if name not in live.asleep]
        situation = situation_of(service, awake, split=live.router_ready and live.target == ROUTER)
        measured = None
        every = _every(before, situation, now)
        if before.state is None or every is None or not live.router_ready:
            self._routers.forget(service.uid)
        else:
            measured = await self._routers.look(service, before.state, every, now)
            self._metrics.counted(_key(service), before.state, measured.grown)
        after = advance(before, situation, measured, now)
        if _is_a_turn(before, after):
            await self._write(raw, after)
        self._tell(service, before, after)
        return Carried(after, replace(live, trial=_trial(after)), next_look(after, situation, now))

    def forget(self, uid: str) -> None:
        """Drop what is remembered about a service that is gone."""
        self._routers.forget(uid)

    def _tell(self, service: ScoringService, before: Record, after: Record) -> None:
        """Publish where the rollout is as metrics."""
        key, state = _key(service), after.state
        self._metrics.at(key, state)
        if state is not None and state.phase.ended and _is_a_turn(before, after):
            self._metrics.ended(key, state.phase)

    async def _write(self, raw: KubeObject, record: Record) -> None:
        status: dict[str, Any] = raw.get("status") or {}
        told = {key: value for key, value in status.items() if key in ("stableVersion", "rollout")}
        patch = status_patch(told, record_status(record))
        if patch is not None:
            self._store.put(SCORING_SERVICE, await self._kube.merge_status(SCORING_SERVICE, raw, patch))


def rollout_cause(record: Record | None) -> Cause | None:
    """Why the default version does not have its traffic, as far as a rollout stands in between."""
    state = record.state if record else None
    if state is None or state.phase is Phase.PROMOTED:
        return None
    return Cause(_REASONS.get(state.phase, Reason.ROLLOUT_PROGRESSING), state.message)


_REASONS = {Phase.PAUSED: Reason.ROLLOUT_PAUSED, Phase.ROLLED_BACK: Reason.ROLLED_BACK}


def _key(service: ScoringService) -> ServiceKey:
    return ServiceKey(service.namespace, service.name)


def _every(record: Record, situation: Situation, now: dt.datetime) -> float | None:
    """Seconds between looks at the routers; None while nothing is to be seen there."""
    state = record.state
    return next_look(record, situation, now) if state is not None and state.share else None


def _is_a_turn(before: Record, after: Record) -> bool:
    """Whether something was decided, and not only counted."""
    return (before.state is not None or after.state is not None) and _decided(before) != _decided(after)


def _decided(record: Record) -> tuple[Any, ...]:
    state: State | None = record.state
    if state is None:
        return (record.stable,)
    return (record.stable, state.phase, state.share, state.old, state.new, state.new_hash, state.plan_hash)


def _trial(record: Record) -> Trial | None:
    state = record.state
    if state is None or state.phase is Phase.PROMOTED:
        return None
    return Trial(state.old, state.new, state.share, barred=state.phase is Phase.ROLLED_BACK)
