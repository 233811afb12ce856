"""From a service's children to the facts that its status is computed from.

Deployments are watched and always at hand. Pods are not watched, because a cluster has many and nearly all of them are
fine: those of one version are listed only while it is not ready, and not more often than every second or so.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scoring_operator import naming
from scoring_operator.conditions import Cause, VersionFacts
from scoring_operator.deployments import newest_template_hash, version_facts
from scoring_operator.kinds import EVENT, POD, REPLICA_SET
from scoring_operator.kube import ForbiddenError, Kube, KubeObject
from scoring_operator.pods import is_ready, is_stuck_before_start, mount_cause, root_cause, stage

_LOOKS = (1.0, 2.0, 2.0, 3.0, 5.0)
"""Seconds between looks at the pods of a service that is not ready; then `_SELDOM`."""
_SELDOM = 10.0


@dataclass(frozen=True)
class PodsSeen:
    """What a look at the pods of one version's newest revision told."""

    cause: Cause | None
    stage: str
    old_ready: bool


@dataclass
class _Watch:
    """The looks at the pods of one version since it stopped being ready."""

    of: tuple[str, int]
    """Uid and generation of the Deployment they were about."""
    looks: int = 0
    next_look: float = 0.0
    seen: PodsSeen | None = None


class Observer:
    """Turns Deployments into facts; remembers for each when its pods were looked at."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._watches: dict[str, _Watch] = {}

    async def observe(self, deployments: Sequence[KubeObject], now: dt.datetime) -> tuple[VersionFacts, ...]:
        """The facts about the versions whose Deployments these are, pods looked at where they are needed and due."""
        return tuple([await self._version(deployment, now) for deployment in deployments])

    def at_hand(self, deployments: Sequence[KubeObject]) -> tuple[VersionFacts, ...]:
        """The facts that the Deployments alone tell, for when the API server does not answer."""
        return tuple(version_facts(deployment) for deployment in deployments)

    def next_look(self, deployments: Sequence[KubeObject]) -> float | None:
        """Seconds until pods are to be looked at again; None when all versions are ready."""
        watched = [self._watches.get(deployment["metadata"]["uid"]) for deployment in deployments]
        due = [watch.next_look for watch in watched if watch is not None]
        return max(min(due) - self._clock(), 0.05) if due else None

    def forget(self, deployment: KubeObject) -> None:
        """Drop what is remembered about a Deployment that is gone."""
        self._watches.pop(deployment["metadata"]["uid"], None)

    async def _version(self, deployment: KubeObject, now: dt.datetime) -> VersionFacts:
        facts, uid = version_facts(deployment), deployment["metadata"]["uid"]
        if facts.complete:
            self._watches.pop(uid, None)
            return facts
        seen = await self._look_if_due(deployment, now)
        if seen is None:
            return facts
        return replace(
            facts,
            failure=seen.cause or facts.failure,
            progress=seen.stage,
            old_ready=facts.ready > 0 and seen.old_ready,
        )

    async def _look_if_due(self, deployment: KubeObject, now: dt.datetime) -> PodsSeen | None:
        uid, generation = deployment["metadata"]["uid"], deployment["metadata"].get("generation", 0)
        watch, moment = self._watches.get(uid), self._clock()
        if watch is None or watch.of != (uid, generation):
            # The first look waits: most rollouts are over before it, and pods have nothing to tell yet.
            watch = self._watches[uid] = _Watch(of=(uid, generation), next_look=moment + _LOOKS[0])
        if moment >= watch.next_look:
            watch.seen = _clearer(await self._look(deployment, now), watch.seen)
            watch.looks += 1
            watch.next_look = self._clock() + (_LOOKS[watch.looks] if watch.looks < len(_LOOKS) else _SELDOM)
        return watch.seen

    async def _look(self, deployment: KubeObject, now: dt.datetime) -> PodsSeen:
        metadata = deployment["metadata"]
        namespace = metadata["namespace"]
        selector = naming.selector_text(deployment["spec"]["selector"]["matchLabels"])
        replica_sets = await self._kube.list(REPLICA_SET, namespace, selector)
        pods = await self._kube.list(POD, namespace, selector)
        newest = newest_template_hash(deployment, list(replica_sets.items))
        current = [pod for pod in pods.items if _template_hash(pod) == newest]
        old = [pod for pod in pods.items if _template_hash(pod) != newest]
        cause = root_cause(current, now) or await self._mounts(current, now)
        return PodsSeen(cause, stage(current), any(is_ready(pod) for pod in old))

    async def _mounts(self, pods: Sequence[KubeObject], now: dt.datetime) -> Cause | None:
        """What the events of a pod that does not even start say; nothing where the operator may not read events."""
        for pod in pods:
            if is_stuck_before_start(pod, now):
                metadata = pod["metadata"]
                try:
                    events = await self._kube.list(
                        EVENT, metadata["namespace"], fields=f"regarding.uid={metadata['uid']}"
                    )
                except ForbiddenError:
                    return None
                return mount_cause(events.items)
        return None


def _clearer(new: PodsSeen, old: PodsSeen | None) -> PodsSeen:
    """`new`, with the longer of two messages that say the same: kubelet drops details while it backs off."""
    if new.cause is None or old is None or old.cause is None or old.cause.reason is not new.cause.reason:
        return new
    return replace(new, cause=old.cause) if old.cause.message.startswith(new.cause.message) else new


def _template_hash(pod: KubeObject) -> Any:
    return pod["metadata"].get("labels", {}).get("pod-template-hash")
