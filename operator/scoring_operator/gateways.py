"""What Gateways say about the routes of a service, and what they can do."""

from collections.abc import Callable, Iterator, Sequence

from scoring_operator.conditions import IngressFacts
from scoring_operator.errors import Reason
from scoring_operator.kinds import GATEWAY, GATEWAY_CLASS
from scoring_operator.kube import ForbiddenError, Kube, KubeObject
from scoring_operator.spec import GatewayParent, ScoringService
from scoring_operator.traffic import Mirroring

_ASK_AGAIN = 60.0
_MIRROR = "HTTPRouteRequestMirror"
_PERCENTAGE = "HTTPRouteRequestPercentageMirror"


class GatewayFeatures:
    """Looks up what the implementation of a Gateway can do, by its GatewayClass.

    A route with a filter that its Gateway does not know answers nothing at all, so that what cannot be is left out.
    """

    def __init__(self, kube: Kube, steady: Callable[[], float]) -> None:
        self._kube = kube
        self._steady = steady
        self._known: dict[tuple[str, str], tuple[float, Mirroring]] = {}
        """(namespace, name) of a Gateway → until when (steady seconds) this is known of it."""

    async def mirroring(self, service: ScoringService) -> Mirroring:
        """What all Gateways of `service` can copy; ANY where they do not say."""
        if service.gateway is None or not any(version.mirror for version in service.versions):
            return Mirroring.ANY
        found = [await self._of(parent, service.namespace) for parent in service.gateway.parents]
        return min(found, key=list(Mirroring).index)

    async def _of(self, parent: GatewayParent, namespace: str) -> Mirroring:
        key = (parent.namespace or namespace, parent.name)
        until, known = self._known.get(key, (0.0, Mirroring.ANY))
        if self._steady() < until:
            return known
        try:
            found = await self._ask(*key)
        except ForbiddenError:
            found = Mirroring.ANY
        self._known[key] = (self._steady() + _ASK_AGAIN, found)
        return found

    async def _ask(self, namespace: str, name: str) -> Mirroring:
        gateway = await self._kube.get(GATEWAY, namespace, name)
        name_of_class = ((gateway or {}).get("spec") or {}).get("gatewayClassName")
        found = await self._kube.get(GATEWAY_CLASS, None, name_of_class) if name_of_class else None
        return mirroring_of(found)


def mirroring_of(gateway_class: KubeObject | None) -> Mirroring:
    """What Gateways of a class can copy, by its `status.supportedFeatures`
    (https://gateway-api.sigs.k8s.io/geps/gep-2162/); ANY where it says nothing.
    """
    features = ((gateway_class or {}).get("status") or {}).get("supportedFeatures") or []
    names = {feature["name"] for feature in features}
    if not names or _PERCENTAGE in names:
        return Mirroring.ANY
    return Mirroring.ALL if _MIRROR in names else Mirroring.NONE


def route_facts(route: KubeObject | None, parents: Sequence[GatewayParent], url: str) -> IngressFacts:
    """What the Gateways say about a route of a service (status.parents of the HTTPRoute)."""
    names = ", ".join(dict.fromkeys(parent.name for parent in parents))
    answers = ((route or {}).get("status") or {}).get("parents") or []
    for name, condition in _refusals(answers):
        said = " ".join(str(condition.get("message", "")).split()).rstrip(".")
        message = f"the Gateway {name} does not take the route: {said or condition.get('reason', '')}"
        return IngressFacts(False, Reason.GATEWAY_REFUSED, message)
    accepted = {answer["parentRef"]["name"] for answer in answers if _accepts(answer)}
    if not {parent.name for parent in parents} <= accepted:
        return IngressFacts(False, Reason.GATEWAY_PENDING, f"waiting for the Gateway {names} to take the route")
    return IngressFacts(True, Reason.INGRESS_ADMITTED, f"published at {url} by the Gateway {names}")


def _refusals(answers: Sequence[KubeObject]) -> Iterator[tuple[str, KubeObject]]:
    for answer in answers:
        for condition in answer.get("conditions") or []:
            if condition["type"] in ("Accepted", "ResolvedRefs") and condition["status"] == "False":
                yield answer["parentRef"]["name"], condition


def _accepts(answer: KubeObject) -> bool:
    return any(
        condition["type"] == "Accepted" and condition["status"] == "True"
        for condition in answer.get("conditions") or []
    )
