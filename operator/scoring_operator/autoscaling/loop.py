"""The loop around the decision: each second every version with an autoscaler is looked at, and scaled if need be.

Versions do not wait for one another: a pod that does not answer holds up its own version alone. Nothing is remembered
that matters: an operator that starts anew reads for a minute before it removes a pod, and adds pods at once.
"""

import asyncio
import datetime as dt
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scoring_operator import naming
from scoring_operator.autoscaling.decision import KEPT_SECONDS, MEAN_SECONDS, Reading, desired_replicas, reading
from scoring_operator.autoscaling.polling import ROUTER, Loads, VersionKey, addresses, ask_all, calls_of
from scoring_operator.autoscaling.trials import Part, part_of, weighed
from scoring_operator.autoscaling.wakeups import Attention, attended, with_sleep
from scoring_operator.errors import OperatorError, SpecError
from scoring_operator.events import EventRecorder, News
from scoring_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE, SCORING_SERVICE
from scoring_operator.kube import Kube, KubeObject
from scoring_operator.metrics import Metrics
from scoring_operator.resources.environment import METRICS_PORT
from scoring_operator.spec import Autoscaling, ScoringService, Version, parse_service
from scoring_operator.status import Load
from scoring_operator.store import ServiceKey, Store, controller_uid

logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
AGAIN_SECONDS = 0.25
"""After a reading that finds more requests than slots, the next follows as soon as this."""
_TOLD_EVERY = 15.0
_TOLD_STEP = 10


@dataclass(frozen=True)
class Clocks:
    """A steady clock in seconds, and the time of day (aware)."""

    steady: Callable[[], float]
    now: Callable[[], dt.datetime]


@dataclass(frozen=True)
class _Target:
    """A version to look at."""

    raw: KubeObject
    service: ScoringService
    version: Version
    bounds: Autoscaling

    @property
    def key(self) -> VersionKey:
        return self.service.namespace, self.service.name, self.version.name

    @property
    def service_key(self) -> ServiceKey:
        return ServiceKey(self.service.namespace, self.service.name)

    @property
    def part(self) -> Part | None:
        """Its part in a rollout that is under way."""
        return part_of(self.service, self.raw.get("status") or {}, self.version.name)


@dataclass(frozen=True)
class Addresses:
    """Where the pods of a version are, and those of its service's router."""

    pods: Sequence[str]
    routers: Sequence[str]


@dataclass
class _Watched:
    """What is remembered of a version."""

    uid: str
    readings: deque[Reading] = field(default_factory=deque)
    demands: deque[Reading] = field(default_factory=deque)
    """The readings with the load that the version is to be ready for: its own, but for a rollout."""
    asked: tuple[int, str] | None = None
    """The number asked for last, and the resource version of the Deployment that it was asked of."""
    attention: Attention | None = None
    """Who called, for versions that sleep."""
    load: Load = field(default_factory=Load)
    """What the status says."""
    told: float = float("-inf")


class Autoscaler:
    """Scales the versions whose metric is Utilization, while `run` runs."""

    def __init__(self, kube: Kube, store: Store, clocks: Clocks, metrics: Metrics) -> None:
        self._kube = kube
        self._store = store
        self._clocks = clocks
        self._metrics = metrics
        self._recorder = EventRecorder(kube)
        self._parsed: dict[str, tuple[int, tuple[ScoringService, ...]]] = {}
        self._watched: dict[VersionKey, _Watched] = {}
        self._at_work: dict[VersionKey, asyncio.Task[None]] = {}
        self.changed: Callable[[ServiceKey], None] = lambda _: None
        """Told of a service whose load has changed enough to be shown."""

    def loads(self, service: ScoringService, status: Mapping[str, Any]) -> dict[str, Load]:
        """Version → what its status is to say; what it says already as long as nothing else is known."""
        found = {version.name: _shown(status, version) for version in service.versions if version.polled}
        for version in service.versions:
            watched = self._watched.get((service.namespace, service.name, version.name))
            if watched is not None and watched.uid == service.uid:
                found[version.name] = watched.load
        return found

    async def run(self, loads: Loads) -> None:
        """Look at all versions each second, until cancelled."""
        try:
            while True:
                try:
                    self.begin(loads)
                except Exception:
                    logger.exception("a round of the autoscaler met a bug of the operator")
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            for task in self._at_work.values():
                task.cancel()
            await asyncio.gather(*self._at_work.values(), return_exceptions=True)
            self._at_work.clear()

    def begin(self, loads: Loads) -> None:
        """Begin to look at every version that is not being looked at."""
        where = addresses(self._store.all(ENDPOINT_SLICE))
        targets = {target.key: target for target in self._targets()}
        for gone in self._watched.keys() - targets.keys():
            self._forget(gone)
        for key, target in targets.items():
            if key not in self._at_work:
                pods = Addresses(where.get(key, []), where.get((key[0], key[1], ROUTER), []))
                task = asyncio.create_task(self._work(target, loads, pods), name=f"autoscaling {key}")
                self._at_work[key] = task
                task.add_done_callback(lambda _, key=key: self._at_work.pop(key, None))  # type: ignore[misc]

    async def finished(self) -> None:
        """Wait until nothing is being looked at."""
        await asyncio.gather(*self._at_work.values(), return_exceptions=True)

    async def _work(self, target: _Target, loads: Loads, where: Addresses) -> None:
        try:
            found = await self._look(target, loads, where)
            if found is not None and found.full:
                await asyncio.sleep(AGAIN_SECONDS)
                await self._look(target, loads, where)
        except OperatorError as error:
            logger.warning("a version could not be scaled: %s", error, extra={"service": "/".join(target.key)})
        except Exception:
            logger.exception("the autoscaler met a bug of the operator", extra={"service": "/".join(target.key)})

    async def _look(self, target: _Target, loads: Loads, where: Addresses) -> Reading | None:
        """Read the load of a version, and scale it if need be; None while it has no Deployment."""
        deployment = self._deployment(target)
        if deployment is None:
            return None
        watched = self._watch(target)
        slots = target.version.request_settings.max_concurrent
        answers = await ask_all(loads, where.pods)
        found = reading(self._clocks.steady(), answers, slots)
        part = target.part
        demand = found if part is None else weighed(part, found, self._last_of(target, part))
        for kept, newest in ((watched.readings, found), (watched.demands, demand)):
            kept.append(newest)
            while found.moment - kept[0].moment > KEPT_SECONDS:
                kept.popleft()
        self._tell(target, watched, found)
        current = _asked(deployment, watched)
        wanted = desired_replicas(target.bounds, current, list(watched.demands))
        if target.version.sleeps:
            counts = await calls_of(loads, where.routers, target.version.name)
            busy = found.load > 0 or part is not None
            watched.attention = attended(watched.attention, counts, found.moment, busy=busy)
            if part is None:
                wanted = with_sleep(target.bounds, current, wanted, watched.attention, found.moment)
        if wanted != current:
            await self._scale(target, watched, deployment, wanted)
        return found

    async def _scale(self, target: _Target, watched: _Watched, deployment: KubeObject, wanted: int) -> None:
        current = _asked(deployment, watched)
        await self._kube.scale(DEPLOYMENT, deployment, wanted)
        watched.asked = wanted, str(deployment["metadata"]["resourceVersion"])
        why = _why_slept(target, current, wanted) or _why(target, watched, current)
        note = f"scaled version {target.version.name} from {current} to {wanted}: {why}"
        self._metrics.scaled(target.service_key, target.version.name, up=wanted > current)
        logger.info("scaled", extra={"service": "/".join(target.key), "from": current, "to": wanted})
        reason = "ScaledUp" if wanted > current else "ScaledDown"
        await self._recorder.post(target.raw, News(reason, note), self._clocks.now())

    def _tell(self, target: _Target, watched: _Watched, found: Reading) -> None:
        """Publish a reading: as metrics always, in the status when it has changed much and not often."""
        self._metrics.load(target.service_key, target.version.name, utilization(found) or 0.0, found.silent)
        used = _lately(watched.readings)
        message = "" if found.answered or not found.silent else _silent(found)
        percent = None if used is None else _TOLD_STEP * round(100 * used / _TOLD_STEP)
        fresh = Load(watched.load.percent if percent is None else percent, message)
        due = found.moment - watched.told >= _TOLD_EVERY
        if due and _differs(watched, fresh, used):
            watched.load, watched.told = fresh, found.moment
            self.changed(target.service_key)

    def _targets(self) -> Iterator[_Target]:
        seen = set()
        for raw in self._store.all(SCORING_SERVICE):
            if "deletionTimestamp" in raw["metadata"]:
                continue
            seen.add(raw["metadata"]["uid"])
            for service in self._service(raw):
                for version in service.versions:
                    if version.autoscaling is not None and version.polled:
                        yield _Target(raw, service, version, version.autoscaling)
        for gone in self._parsed.keys() - seen:
            del self._parsed[gone]

    def _service(self, raw: KubeObject) -> tuple[ScoringService, ...]:
        """The service, parsed once for each generation; none when its spec cannot be read."""
        uid, generation = raw["metadata"]["uid"], raw["metadata"].get("generation", 0)
        known = self._parsed.get(uid)
        if known is None or known[0] != generation:
            known = self._parsed[uid] = generation, _parsed(raw)
        return known[1]

    def _deployment(self, target: _Target) -> KubeObject | None:
        name = naming.deployment_name(target.service.name, target.version.name)
        found = self._store.get(DEPLOYMENT, target.service.namespace, name)
        ours = found is not None and controller_uid(found) == target.service.uid
        return found if ours and found is not None and "deletionTimestamp" not in found["metadata"] else None

    def _last_of(self, target: _Target, part: Part) -> Reading | None:
        """The last reading of the version on the other side of a rollout; None where it is not read."""
        namespace, service, version = target.key
        other = self._watched.get((namespace, service, part.other(version)))
        return other.readings[-1] if other is not None and other.readings else None

    def _watch(self, target: _Target) -> _Watched:
        watched = self._watched.get(target.key)
        if watched is None or watched.uid != target.service.uid:
            watched = self._watched[target.key] = _Watched(
                target.service.uid, load=_shown(target.raw.get("status") or {}, target.version)
            )
        return watched

    def _forget(self, key: VersionKey) -> None:
        del self._watched[key]
        self._metrics.without_load(ServiceKey(key[0], key[1]), key[2])


def utilization(found: Reading) -> float | None:
    """Requests over slots (1: all slots are taken); None when no pod told."""
    return found.load / (found.answered * found.slots) if found.answered else None


def _lately(readings: Sequence[Reading]) -> float | None:
    """The mean utilization of the last seconds; None when no pod told."""
    last = readings[-1].moment
    used = [utilization(one) for one in readings if last - one.moment <= MEAN_SECONDS]
    told = [one for one in used if one is not None]
    return sum(told) / len(told) if told else None


def _parsed(raw: KubeObject) -> tuple[ScoringService, ...]:
    try:
        return (parse_service(raw),)
    except SpecError:
        return ()  # the status says why


def _asked(deployment: KubeObject, watched: _Watched) -> int:
    """The pods asked for; what was asked last, until the Deployment has been seen anew."""
    if watched.asked is not None and watched.asked[1] == deployment["metadata"]["resourceVersion"]:
        return watched.asked[0]
    return int(deployment["spec"].get("replicas", 1))


def _shown(status: Mapping[str, Any], version: Version) -> Load:
    """What the status says already, so that an operator that starts anew has nothing to write."""
    for record in status.get("versions") or []:
        if record.get("name") == version.name:
            return Load(record.get("utilization"), record.get("scalingMessage", ""))
    return Load()


def _differs(watched: _Watched, fresh: Load, used: float | None) -> bool:
    """Whether the load is far from what is shown: a value between two steps must not swing between them."""
    if fresh.message != watched.load.message or watched.load.percent is None:
        return fresh != watched.load
    return used is not None and abs(100 * used - watched.load.percent) >= _TOLD_STEP


def _silent(found: Reading) -> str:
    pods = "its pod does not answer" if found.silent == 1 else f"none of its {found.silent} pods answers"
    return f"the load is not known, because {pods} the operator on port {METRICS_PORT} (/load)"


def _why_slept(target: _Target, current: int, wanted: int) -> str:
    if wanted == 0:
        return f"nobody has called for {target.bounds.idle_seconds} s"
    if current > 0:
        return ""
    part = target.part
    return "a request waits for a pod" if part is None else f"neither version sleeps during the rollout to {part.new}"


def _why(target: _Target, watched: _Watched, current: int) -> str:
    newest, bounds = watched.readings[-1], target.bounds
    if not max(bounds.min_replicas, 1) <= current <= bounds.max_replicas:
        return f"minReplicas is {bounds.min_replicas}, maxReplicas {bounds.max_replicas}"
    used = utilization(newest)
    if used is None:
        return "no pod tells its load"
    slots = round(newest.answered * newest.slots)
    found = f"{newest.load:.0f} requests for {slots} slots ({100 * used:.0f} %), the target is {bounds.target} %"
    demand, part = watched.demands[-1], target.part
    if part is None or demand.load <= newest.load:
        return found
    return f"{found}; in the rollout to {part.new} it is to be ready for {demand.load:.0f} requests"
