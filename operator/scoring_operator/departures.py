"""What a service no longer needs, and how long it stays: a version or a router goes when nobody calls it any more.

A version that the spec no longer names keeps its pods as long as it stands in for the others, and from then on for the
few seconds until every proxy has heard of it. So does a router when one version is left. The seconds are counted in
memory: an operator that starts anew counts from the beginning, and nothing goes too early.
"""

from collections.abc import Callable, Container, Sequence

from scoring_operator import naming
from scoring_operator.deployments import version_facts
from scoring_operator.kinds import DEPLOYMENT, SERVICE, Kind
from scoring_operator.kube import KubeObject
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import ROUTER, Live, Traffic

LINGER_SECONDS = 10.0
"""How long what nobody is sent to any more stays; a change of shares reaches every router within three."""

Children = Sequence[tuple[Kind, KubeObject]]


class Departures:
    """Remembers since when something of a service is no longer needed."""

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._since: dict[str, dict[str, float]] = {}
        """Uid of the service → version (or ROUTER) → when it was sent nothing any more."""

    def live(self, service: ScoringService, children: Children) -> Live:
        """What of `service` is there; without what has been idle for long enough to go."""
        found = {name: child for child in _deployments(children) if (name := child_name(child))}
        wanted = {version.name for version in service.versions}
        gone = self._gone(service.uid)
        sleepers = {version.name for version in service.versions if version.sleeps}
        asleep = [name for name, child in found.items() if _asleep(name, child, sleepers)]
        ready = [name for name, child in found.items() if version_facts(child).ready or name in asleep]
        return Live(
            ready=[name for name in ready if name != ROUTER],
            asleep=asleep,
            leaving=tuple(sorted(name for name in found if name not in {*wanted, *gone, ROUTER})),
            router_ready=ROUTER in ready,
            router_lingers=ROUTER in found and ROUTER not in gone,
            target=_target(service, children),
        )

    def note(self, service: ScoringService, live: Live, traffic: Traffic, delay: float) -> None:
        """Take in that `traffic` is what the Service and the routers were told; these hear of it `delay` seconds late.

        What is sent nothing by it begins to leave; what is sent something again stays.
        """
        idle = [name for name in live.leaving if name != traffic.target and name not in traffic.weights]
        if traffic.router and not service.needs_router:
            idle.append(ROUTER)
        before = self._since.pop(service.uid, {})
        kept = {name: before.get(name, self._steady() + delay) for name in idle}
        if kept:
            self._since[service.uid] = kept

    def next_pass(self, service: ScoringService) -> float | None:
        """Seconds until something can go; None when nothing leaves."""
        since = self._since.get(service.uid)
        return None if not since else max(min(since.values()) + LINGER_SECONDS - self._steady(), 0.05)

    def forget(self, uid: str) -> None:
        """Drop what is remembered about a service that is gone."""
        self._since.pop(uid, None)

    def _gone(self, uid: str) -> set[str]:
        moment = self._steady()
        return {name for name, since in self._since.get(uid, {}).items() if moment - since >= LINGER_SECONDS}


def _asleep(name: str, deployment: KubeObject, sleepers: Container[str]) -> bool:
    """Whether the version has no pods because nobody called: it gets its requests, which wait for a pod."""
    return name in sleepers and deployment["spec"].get("replicas") == 0


def child_name(deployment: KubeObject) -> str | None:
    """The version whose Deployment this is, or ROUTER; None for neither."""
    labels = deployment["metadata"].get("labels", {})
    if labels.get(naming.COMPONENT_LABEL) == naming.ROUTER_COMPONENT:
        return ROUTER
    version: str | None = labels.get(naming.VERSION_LABEL)
    return version


def _deployments(children: Children) -> list[KubeObject]:
    return [child for kind, child in children if kind is DEPLOYMENT and "deletionTimestamp" not in child["metadata"]]


def _target(service: ScoringService, children: Children) -> str | None:
    """What the Service selects now, by its selector."""
    name = naming.service_name(service.name)
    for kind, child in children:
        if kind is SERVICE and child["metadata"]["name"] == name:
            selector = child["spec"].get("selector") or {}
            if selector == naming.router_selector(service.name):
                return ROUTER
            return selector.get(naming.VERSION_LABEL)
    return None
