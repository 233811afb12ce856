"""From facts to conditions: pure, and by the rules of kstatus, so that GitOps tools and `kubectl wait` understand them.

`Reconciling` says that the operator or the cluster is still on the way, `Stalled` that somebody has to do something
(the operator keeps looking all the same), `IngressReady` whether the way in is in order. `Ready` is computed from these
three and from nothing else. Never are both `Reconciling` and `Stalled` true.
https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scoring_operator.errors import Reason

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
INGRESS_READY = "IngressReady"

_PASSES_BY_ITSELF = frozenset(
    {
        Reason.UNSCHEDULABLE,  # a node may come, or another pod may go
        Reason.MODEL_SOURCE_UNAVAILABLE,
        Reason.API_UNAVAILABLE,
        Reason.INTERNAL_ERROR,
        Reason.PROBE_FAILING,
        Reason.CERTIFICATE_PENDING,
        Reason.GATEWAY_PENDING,
        Reason.DEPLOYING,
        Reason.ROLLOUT_PROGRESSING,
        Reason.ROLLOUT_PAUSED,
    }
)


@dataclass(frozen=True)
class Cause:
    """Why something is not as it should be."""

    reason: Reason
    message: str
    """One sentence without a full stop: what is wrong, where, and what to do."""

    @property
    def stalls(self) -> bool:
        """Whether somebody has to do something; False for what may pass by itself."""
        return self.reason not in _PASSES_BY_ITSELF


@dataclass(frozen=True)
class VersionFacts:
    """How far one version's pods are."""

    name: str
    wanted: int
    """Pods there should be."""
    replicas: int
    """Pods there are, of this and of older revisions."""
    ready: int
    """Pods that answer, of this and of older revisions."""
    complete: bool
    """Whether all wanted pods are of the newest revision and ready, and no others are left."""
    old_ready: bool = False
    """Whether pods of an older revision still answer."""
    failure: Cause | None = None
    """What keeps the newest revision from becoming ready."""
    progress: str = ""
    """How far the newest revision is, such as `loading the model`."""
    asleep: str = ""
    """Why there are no pods although all is well, for a version that sleeps."""
    in_place: bool = False
    """Whether pods are replaced without a surplus pod (because each holds GPUs)."""


@dataclass(frozen=True)
class IngressFacts:
    """Whether the way into the cluster is in order."""

    ready: bool
    reason: Reason
    message: str


@dataclass(frozen=True)
class Facts:
    """All that conditions and status are computed from."""

    versions: tuple[VersionFacts, ...] = ()
    ingress: IngressFacts = IngressFacts(True, Reason.INGRESS_NOT_WANTED, "no ingress is wanted")
    error: Cause | None = None
    """What kept the operator itself from carrying out the spec."""
    router: VersionFacts | None = None
    """How far the router's pods are; None for a service without one."""
    scaling: Cause | None = None
    """What keeps an autoscaler from being there; None when nothing does."""
    rollout: Cause | None = None
    """Why the default version does not have its traffic; None when no rollout stands in between."""

    @property
    def wanted(self) -> int:
        """Pods there should be."""
        return sum(version.wanted for version in self.versions)

    @property
    def replicas(self) -> int:
        """Pods there are."""
        return sum(version.replicas for version in self.versions)

    @property
    def ready(self) -> int:
        """Pods that answer."""
        return sum(version.ready for version in self.versions)

    @property
    def parts(self) -> tuple[VersionFacts, ...]:
        """Everything with pods: the versions, then the router."""
        return self.versions if self.router is None else (*self.versions, self.router)

    @property
    def stalled(self) -> bool:
        """Whether somebody has to do something."""
        return _stalled(self) is not None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do or to wait for."""
        well = self.error is None and self.scaling is None and self.rollout is None and self.ingress.ready
        return well and all(part.complete for part in self.parts)


def conditions(facts: Facts, generation: int, previous: Sequence[Mapping[str, Any]], now: dt.datetime) -> list[Any]:
    """The four conditions for `facts`; `lastTransitionTime` is kept from `previous` where the status did not flip."""
    stalled, reconciling = _stalled(facts), _reconciling(facts)
    if stalled is not None:
        reconciling = None
    blocking = stalled or reconciling
    found = [
        _condition(READY, blocking is None, blocking or _available(facts)),
        _condition(RECONCILING, reconciling is not None, reconciling or stalled or _available(facts)),
        _condition(STALLED, stalled is not None, stalled or reconciling or _available(facts)),
        _condition(INGRESS_READY, facts.ingress.ready, Cause(facts.ingress.reason, facts.ingress.message)),
    ]
    before = {condition["type"]: condition for condition in previous}
    for condition in found:
        old = before.get(condition["type"])
        same = old is not None and old.get("status") == condition["status"] and "lastTransitionTime" in old
        condition["lastTransitionTime"] = old["lastTransitionTime"] if old and same else timestamp(now)
        condition["observedGeneration"] = generation
    return found


def timestamp(moment: dt.datetime) -> str:
    """A moment (aware) as the API writes it."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stalled(facts: Facts) -> Cause | None:
    """The first thing that needs somebody: the spec, a model, the ingress, an autoscaler, the new version."""
    if facts.error is not None and facts.error.stalls:
        serving = "; the previous version keeps serving" if facts.ready else ""
        return Cause(facts.error.reason, facts.error.message + serving)
    for version in facts.parts:
        if version.failure is not None and version.failure.stalls and not version.complete:
            return _failure(version, facts)
    ingress = Cause(facts.ingress.reason, facts.ingress.message)
    if not facts.ingress.ready and ingress.stalls:
        return ingress
    return next((cause for cause in (facts.scaling, facts.rollout) if cause is not None and cause.stalls), None)


def _reconciling(facts: Facts) -> Cause | None:
    """The first thing that is still on its way."""
    if facts.error is not None and not facts.error.stalls:
        return facts.error
    waiting = [version for version in facts.parts if not version.complete]
    for version in waiting:
        if version.failure is not None:
            return _failure(version, facts)
    if waiting:
        return Cause(Reason.DEPLOYING, "; ".join(_progress(version, facts) for version in waiting))
    ingress = Cause(facts.ingress.reason, facts.ingress.message)
    return ingress if not facts.ingress.ready and not ingress.stalls else facts.rollout


def _available(facts: Facts) -> Cause:
    if facts.versions and facts.wanted == 0:
        if all(version.asleep for version in facts.versions):
            return Cause(Reason.SCALED_TO_ZERO, "; ".join(dict.fromkeys(part.asleep for part in facts.versions)))
        return Cause(Reason.SCALED_TO_ZERO, "scaled to 0 replicas: nothing answers")
    return Cause(Reason.AVAILABLE, f"{_count(facts.ready, facts.wanted)} ready")


def _failure(version: VersionFacts, facts: Facts) -> Cause:
    assert version.failure is not None
    message = _named(version, facts) + version.failure.message
    if version.old_ready:
        message += f"; the previous version keeps serving ({_count(version.ready, version.wanted)} ready)"
    elif version.ready:
        message += f"; {_count(version.ready, version.wanted)} ready"
    return Cause(version.failure.reason, message)


def _progress(version: VersionFacts, facts: Facts) -> str:
    message = f"{_named(version, facts)}{_count(version.ready, version.wanted)} ready"
    if version.progress:
        message += f", {version.progress}"
    if not version.in_place or version.replicas == 0:
        return message
    if version.wanted == 1:
        return message + "; updating in place to free its GPU: nothing answers until the new pod is ready"
    return message + "; updating in place to free GPUs: one replica less answers meanwhile"


def _named(version: VersionFacts, facts: Facts) -> str:
    if version is facts.router:
        return "the router: "
    return f"version {version.name}: " if len(facts.versions) > 1 else ""


def _count(ready: int, wanted: int) -> str:
    return f"{ready} of {wanted} replica{'' if wanted == 1 else 's'}"


def _condition(kind: str, holds: bool, cause: Cause) -> dict[str, Any]:
    return {"type": kind, "status": "True" if holds else "False", "reason": str(cause.reason), "message": cause.message}
