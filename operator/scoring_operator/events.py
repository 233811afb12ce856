"""Kubernetes Events about a service: few, meaningful, and posted after its status says the same.

Repetition is counted on the Event that exists instead of posting another one, as client-go's recorder does it
(https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/#EventSeries). An Event that cannot be
posted is logged and forgotten: it must never keep a service from its state.
"""

import datetime as dt
import logging
import socket
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring_operator.conditions import READY, Facts
from scoring_operator.errors import OperatorError
from scoring_operator.kinds import EVENT
from scoring_operator.kube import Kube, KubeObject, NotFoundError
from scoring_operator.naming import FIELD_MANAGER
from scoring_operator.rollout import Phase

logger = logging.getLogger(__name__)

_CONTROLLER = "scoring.dev/operator"
_REMEMBERED = 2000
_SERIES_EVERY = dt.timedelta(minutes=5)
_LONGEST_NOTE = 1000
_AT_MOST_LISTED = 8
_OF_ROLLOUTS = {
    Phase.WAITING: "RolloutWaiting",
    Phase.PROGRESSING: "RolloutStep",
    Phase.PAUSED: "RolloutPaused",
    Phase.PROMOTED: "RolloutPromoted",
    Phase.ROLLED_BACK: "RolledBack",
}


@dataclass(frozen=True)
class News:
    """Something to tell about a service."""

    reason: str
    note: str
    warning: bool = False


@dataclass
class _Series:
    posted: KubeObject
    last: dt.datetime
    count: int = 1


class EventRecorder:
    """Posts news about services as Events."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()
        self._instance = socket.gethostname()[:128] or FIELD_MANAGER

    async def post(self, about: KubeObject, news: News, now: dt.datetime) -> None:
        """Post one Event about the object `about`, or count it on the same one posted before."""
        key = (about["metadata"]["uid"], news.reason, news.note)
        series = self._series.get(key)
        try:
            if series is None:
                posted = await self._kube.create(EVENT, self._event(about, news, now))
                self._series[key] = _Series(posted, now)
                while len(self._series) > _REMEMBERED:
                    self._series.popitem(last=False)
            else:
                await self._count(key, series, now)
        except OperatorError as error:
            logger.warning("an Event could not be posted: %s", error, extra={"event": news.reason})

    async def _count(self, key: tuple[str, str, str], series: _Series, now: dt.datetime) -> None:
        series.count += 1
        if now - series.last < _SERIES_EVERY:
            return
        series.last = now
        patch = {"series": {"count": series.count, "lastObservedTime": _micro_time(now)}}
        try:
            await self._kube.merge(EVENT, series.posted, patch)
        except NotFoundError:  # Events live for an hour or so
            del self._series[key]

    def _event(self, about: KubeObject, news: News, now: dt.datetime) -> KubeObject:
        metadata = about["metadata"]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
            "eventTime": _micro_time(now),
            "reportingController": _CONTROLLER,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": news.reason,
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "note": news.note[:_LONGEST_NOTE],
            "type": "Warning" if news.warning else "Normal",
        }


def readiness_news(facts: Facts, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[News]:
    """What is to be told about readiness, given the status `before` and `after` a pass."""
    old, new = _ready(before), _ready(after)
    if new["status"] == "True":
        return [] if old.get("status") == "True" else [News("Ready", f"{new['message']}, {after['url']}")]
    failing = facts.error or not facts.ingress.ready or any(version.failure for version in facts.versions)
    if failing and old.get("reason") != new["reason"]:
        return [News(new["reason"], new["message"], warning=True)]
    return []


def traffic_news(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[News]:
    """What is to be told about the shares, given the status `before` and `after` a pass."""
    old, new = before.get("traffic"), after.get("traffic")
    return [News("TrafficChanged", f"{new}; before: {old}")] if old and new and old != new else []


def rollout_news(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[News]:
    """What is to be told about a rollout, given the status `before` and `after` a pass."""
    old, new = before.get("rollout", {}), after.get("rollout", {})
    if not new or all(old.get(field) == new[field] for field in ("phase", "share", "from", "to")):
        return []
    phase = Phase(new["phase"])
    return [News(_OF_ROLLOUTS[phase], new["message"], warning=phase is Phase.ROLLED_BACK)]


def listed(things: tuple[str, ...]) -> str:
    """Things in one line, the last ones only counted where there are many."""
    if len(things) <= _AT_MOST_LISTED:
        return ", ".join(things)
    return f"{', '.join(things[:_AT_MOST_LISTED])} and {len(things) - _AT_MOST_LISTED} more"


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((found for found in status.get("conditions") or [] if found["type"] == READY), {})


def _micro_time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
