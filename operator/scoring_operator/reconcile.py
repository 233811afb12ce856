"""One pass over one service: parse, gather what it depends on, make its children so, look at them, write the status.

A pass reads what the watches told and asks the API server for nothing while a service is settled. What goes wrong
becomes part of the status; what may pass by itself is raised in the end, so that the queue tries again.
"""

import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scoring_operator.acceleration import Accelerations
from scoring_operator.announcements import Announcer
from scoring_operator.children import Changes, Children
from scoring_operator.conditions import Cause, Facts, IngressFacts, VersionFacts
from scoring_operator.config import Settings
from scoring_operator.credentials import CertificateFound, KeysFound, SecretKeeper
from scoring_operator.departures import Departures, child_name
from scoring_operator.desired import desired_children
from scoring_operator.errors import OperatorError, Reason
from scoring_operator.events import EventRecorder, News, listed, readiness_news, rollout_news, traffic_news
from scoring_operator.ingress import IngressInspector
from scoring_operator.issuer import IssuerKeeper
from scoring_operator.keda import keda_loads, missing_keda
from scoring_operator.kinds import DEPLOYMENT, SCORING_SERVICE, Kind
from scoring_operator.kube import Kube, KubeObject, NotFoundError
from scoring_operator.metrics import Metrics
from scoring_operator.observe import Observer
from scoring_operator.replicas import kept_replicas, why_asleep, with_kept
from scoring_operator.resources import Surroundings
from scoring_operator.rollout import Record
from scoring_operator.rollouts import Rollouts, rollout_cause
from scoring_operator.router_metrics import ReadPage, RouterMetrics, read_page
from scoring_operator.served import ASK_AGAIN, ServedKinds
from scoring_operator.spec import ScoringService, parse_service
from scoring_operator.status import (
    Acceleration,
    Decisions,
    Load,
    Status,
    build_status,
    keep_status,
    recorded_images,
    status_patch,
    with_conditions,
)
from scoring_operator.store import ServiceKey, Store
from scoring_operator.traffic import ROUTER, Traffic, traffic_of

logger = logging.getLogger(__name__)

_INGRESS_RECHECK = 5.0
_LONGEST_TIMER = 6 * 3600.0


class InternalError(OperatorError):
    """The operator itself failed; a bug. The message names no values."""


@dataclass
class _Pass:
    """What one pass found out, as far as it came."""

    service: ScoringService | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    """Version → the pods that an autoscaler left to it."""
    ingress: IngressFacts | None = None
    keys: KeysFound = field(default_factory=KeysFound)
    certificate: CertificateFound = field(default_factory=CertificateFound)
    changes: Changes = field(default_factory=Changes)
    traffic: Traffic | None = None
    """Where the requests go; None while the spec cannot be read."""
    accelerations: Mapping[str, Acceleration] = field(default_factory=dict)
    """Version → what became of its `accelerate`."""
    record: Record | None = None
    """How far a rollout is; None while it is not known."""
    scaling: Cause | None = None
    """What keeps an autoscaler from being there."""
    rollout_wait: float | None = None
    """Seconds until the rollout wants a pass."""
    error: OperatorError | None = None


@dataclass(frozen=True)
class Instruments:
    """What a reconciler measures with: time of day (aware), a steady clock in seconds, metrics, and pages of pods."""

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    steady: Callable[[], float] = time.monotonic
    metrics: Metrics = field(default_factory=Metrics)
    read_page: ReadPage = read_page


class Reconciler:
    """Does passes; safe to use from several workers as long as no service is in two passes at once."""

    def __init__(self, kube: Kube, store: Store, settings: Settings, instruments: Instruments) -> None:
        self._kube = kube
        self._store = store
        self._settings = settings
        self._now, self._steady = instruments.now, instruments.steady
        self._children = Children(kube, store)
        self._keeper = SecretKeeper(kube, store, settings, instruments.steady)
        self._issuer = IssuerKeeper(kube, instruments.steady)
        self._recorder = EventRecorder(kube)
        self._announcer = Announcer(kube)
        self._departures = Departures(instruments.steady)
        routers = RouterMetrics(kube, instruments.steady, instruments.read_page)
        self._rollouts = Rollouts(kube, store, routers, instruments.metrics.rollouts)
        self.kinds = ServedKinds(kube, instruments.steady)
        self.inspector = IngressInspector(kube, store, settings, self.kinds, instruments.steady)
        self._observer = Observer(kube, instruments.steady)
        self.accelerations = Accelerations(kube, instruments.steady)
        self.metrics = instruments.metrics
        self.loads: Callable[[ScoringService, Status], Mapping[str, Load]] = lambda *_: {}
        """What the autoscaler says of the versions of a service."""

    async def reconcile(self, key: ServiceKey) -> float | None:
        """One pass over `key`; returns after how many seconds the next is wanted without an event, or None.

        Raises what kept the pass from its end and may pass by itself.
        """
        raw = self._store.get(SCORING_SERVICE, key.namespace, key.name)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self.metrics.forget(key)
            return None
        began, now = self._steady(), self._now()
        done = await self._carry_out(raw, now)
        facts = await self._facts(raw, done, now)
        if done.service is not None:
            known = raw.get("status") or {}
            done.accelerations = await self.accelerations.known(done.service, facts.versions, known)
        before, after = await self._write_status(raw, done, facts, now)
        told = rollout_news(raw.get("status") or {}, after)
        for news in [*_news(done), *told, *traffic_news(before, after), *readiness_news(facts, before, after)]:
            await self._recorder.post(raw, news, now)
        self._measure(key, done, facts, began)
        if done.error is not None and done.error.retry == "backoff":
            raise done.error
        return self._next_pass(raw, done, facts, now)

    def forget(self, kind: Kind, child: KubeObject) -> None:
        """Drop what is remembered about a child that is gone."""
        self._children.forget(child)
        if kind is DEPLOYMENT:
            self._observer.forget(child)

    def forget_service(self, raw: KubeObject) -> None:
        """Drop what is remembered about a service that is gone."""
        self._announcer.forget(raw["metadata"]["uid"])
        self._departures.forget(raw["metadata"]["uid"])
        self.accelerations.forget(raw["metadata"]["uid"])
        self._rollouts.forget(raw["metadata"]["uid"])

    async def _carry_out(self, raw: KubeObject, now: dt.datetime) -> _Pass:
        """Parse the spec and make the children so; the first error ends it and is kept."""
        done = _Pass()
        try:
            service = parse_service(raw)
            done.kept = kept_replicas(service, raw.get("status") or {}, self._deployments_of(raw))
            service = done.service = with_kept(service, done.kept)
            found = self._departures.live(service, self._store.children(service.uid))
            carried = await self._rollouts.take_on(service, raw, found, now)
            live, done.record, done.rollout_wait = carried.live, carried.record, carried.next_pass
            done.traffic = traffic_of(service, live)
            done.images = recorded_images(service, raw.get("status") or {}, self._settings.runtime_images)
            way_in = await self.inspector.inspect(service)
            done.ingress = way_in.facts
            live = dataclasses.replace(live, mirroring=way_in.mirroring)
            traffic = done.traffic = traffic_of(service, live)
            done.scaling = await missing_keda(service, self.kinds)
            done.keys = await self._keeper.keys(service)
            done.certificate = await self._keeper.certificate(service, now)
            surroundings = Surroundings(
                settings=self._settings,
                images=done.images,
                keys=done.keys.keys,
                cluster_issuer=await self._issuer.issuer(service),
                tls=done.certificate.certificate,
                ingress_controller=way_in.controller,
                middlewares=way_in.middlewares,
                routes=way_in.routes,
                scaled_objects=done.scaling is None,
                live=live,
            )
            wanted = desired_children(service, surroundings)
            done.changes = await self._children.converge(service, wanted, live.leaving)
            delay = await self._announcer.announce(service, wanted)
            self._departures.note(service, live, traffic, delay)
        except OperatorError as error:
            done.error = error
            if isinstance(error, NotFoundError):
                self.kinds.doubt()
        except Exception as error:
            logger.exception("a pass met a bug of the operator", extra={"service": _name(raw)})
            done.error = InternalError(
                f"the operator failed on this service ({type(error).__name__}) and tries again: its log says more"
            )
        return done

    async def _facts(self, raw: KubeObject, done: _Pass, now: dt.datetime) -> Facts:
        error = None if done.error is None else Cause(Reason(done.error.reason), done.error.message)
        deployments = self._deployments(raw, done)
        try:
            parts = await self._observer.observe(deployments, now)
        except OperatorError as failure:
            parts = self._observer.at_hand(deployments)
            done.error = done.error or failure
            error = error or Cause(Reason(failure.reason), failure.message)
        versions, router = _split(deployments, parts)
        if done.service is not None and done.service.sleeps:
            why = {version.name: why_asleep(version) for version in done.service.versions}
            versions = tuple(replace(part, asleep="" if part.wanted else why.get(part.name, "")) for part in versions)
        known = Facts(versions, error=error, router=router, scaling=done.scaling, rollout=rollout_cause(done.record))
        return known if done.ingress is None else replace(known, ingress=done.ingress)

    async def _write_status(
        self, raw: KubeObject, done: _Pass, facts: Facts, now: dt.datetime
    ) -> tuple[Status, Status]:
        """Write the status if it differs; returns the status before and after."""
        metadata = raw["metadata"]
        newest = self._store.get(SCORING_SERVICE, metadata["namespace"], metadata["name"]) or raw
        before: Status = newest.get("status") or {}
        about = (
            keep_status(before)
            if done.service is None or done.traffic is None or done.record is None
            else build_status(done.service, facts, self._decisions(done.service, done, before), self._settings)
        )
        after = with_conditions(about, facts, {**raw, "status": before}, now)
        patch = status_patch(before, after)
        if patch is not None:
            try:
                written = await self._kube.merge_status(SCORING_SERVICE, raw, patch)
            except NotFoundError:
                return after, after  # deleted meanwhile: nothing is left to tell
            self._store.put(SCORING_SERVICE, written)
        return before, after

    def _decisions(self, service: ScoringService, done: _Pass, before: Status) -> Decisions:
        assert done.traffic is not None
        assert done.record is not None
        loads = {**self.loads(service, before), **keda_loads(service, self._store)}
        return Decisions(done.images, done.traffic, done.accelerations, done.record, done.kept, loads)

    def _deployments_of(self, raw: KubeObject) -> list[KubeObject]:
        return [child for kind, child in self._store.children(raw["metadata"]["uid"]) if kind is DEPLOYMENT]

    def _deployments(self, raw: KubeObject, done: _Pass) -> list[KubeObject]:
        """The Deployments that the status is about; not those of versions and routers that leave."""
        found = self._deployments_of(raw)
        if done.service is not None:
            wanted = {version.name for version in done.service.versions} | (
                {ROUTER} if done.service.needs_router else set()
            )
            found = [child for child in found if child_name(child) in wanted]
        return sorted(found, key=lambda deployment: str(deployment["metadata"]["name"]))

    def _next_pass(self, raw: KubeObject, done: _Pass, facts: Facts, now: dt.datetime) -> float | None:
        waits = [self._observer.next_look(self._deployments(raw, done)), done.rollout_wait]
        if done.service is not None:
            if done.error is None:  # else nothing goes, and what is due would be asked for again and again
                waits.append(self._departures.next_pass(done.service))
            waits.append(self._issuer.next_reading(done.service))
            waits.append(self.accelerations.next_try(done.service))
        if not facts.ingress.ready:
            waits.append(_INGRESS_RECHECK)
        if facts.scaling is not None:
            waits.append(ASK_AGAIN)
        if done.certificate.renew_at is not None:
            waits.append(max((done.certificate.renew_at - now).total_seconds(), 1.0))
        wanted = [wait for wait in waits if wait is not None]
        return min(*wanted, _LONGEST_TIMER) if wanted else None

    def _measure(self, key: ServiceKey, done: _Pass, facts: Facts, began: float) -> None:
        result = "error" if done.error else "settled" if facts.settled else "waiting"
        self.metrics.passed(result, self._steady() - began)
        for change in ("created", "updated", "deleted"):
            self.metrics.changed(change, len(getattr(done.changes, change)))
        self.metrics.state(key, "Ready" if facts.settled else "Stalled" if facts.stalled else "Progressing")
        ends = done.certificate.ends
        self.metrics.certificate(key, ends.timestamp() if ends else None)
        if done.changes:
            logger.info(
                "changed children",
                extra={"service": str(key), "children": dataclasses.asdict(done.changes)},
            )


def _split(
    deployments: Sequence[KubeObject], parts: Sequence[VersionFacts]
) -> tuple[tuple[VersionFacts, ...], VersionFacts | None]:
    """The facts about the versions, and those about the router."""
    named = list(zip(map(child_name, deployments), parts, strict=True))
    versions = tuple(part for name, part in named if name != ROUTER)
    return versions, next((part for name, part in named if name == ROUTER), None)


def _news(done: _Pass) -> list[News]:
    """What the pass changed, for the service's Events."""
    news = []
    if done.changes.created:
        news.append(News("Created", f"created {listed(done.changes.created)}"))
    if done.changes.updated:
        news.append(News("Updated", f"updated {listed(done.changes.updated)}"))
    if done.changes.deleted:
        news.append(News("Deleted", f"deleted {listed(done.changes.deleted)}"))
    if done.error is None and done.keys.fresh:
        news.append(News("KeysGenerated", "drew new keys, which are in the Secret of the service"))
    if done.error is None and done.certificate.fresh:
        reason, verb = (
            ("CertificateRenewed", "renewed") if done.certificate.renewed else ("CertificateIssued", "issued")
        )
        news.append(News(reason, f"{verb} the certificate, good until {done.certificate.ends:%Y-%m-%d}"))
    return news


def _name(raw: KubeObject) -> str:
    return f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
