"""Whether the way into the cluster is in order: the IngressClass and the certificate's Secret.

Whether the controller has given the Ingress an address is not asked: many never write one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scoring_operator import naming
from scoring_operator.conditions import IngressFacts
from scoring_operator.config import Settings
from scoring_operator.desired import published_ingress, service_url
from scoring_operator.errors import Reason
from scoring_operator.gateways import GatewayFeatures, route_facts
from scoring_operator.kinds import HTTP_ROUTE, INGRESS_CLASS, MIDDLEWARE, SECRET
from scoring_operator.kube import Kube, KubeObject
from scoring_operator.resources import IngressController
from scoring_operator.served import ServedKinds
from scoring_operator.spec import Gateway, GatewayParent, Ingress, ScoringService
from scoring_operator.store import Store
from scoring_operator.traffic import Mirroring

_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


@dataclass(frozen=True)
class IngressSurroundings:
    """The controller that serves a service's Ingress, and the state of the way in."""

    controller: IngressController
    facts: IngressFacts
    middlewares: bool = False
    """Whether the cluster serves Traefik's Middleware kind; asked only where Traefik serves the Ingress."""
    routes: bool = False
    """Whether the cluster serves the HTTPRoute kind; asked only for a service with a Gateway."""
    mirroring: Mirroring = Mirroring.ANY
    """What the Gateways of the service can copy."""


class IngressInspector:
    """Looks after what an Ingress depends on."""

    def __init__(
        self, kube: Kube, store: Store, settings: Settings, kinds: ServedKinds, steady: Callable[[], float]
    ) -> None:
        self._kube = kube
        self._store = store
        self._settings = settings
        self._kinds = kinds
        self._steady = steady
        self._features = GatewayFeatures(kube, steady)
        self._seen: dict[tuple[str, str], float] = {}
        """When Secrets that are not the operator's own were last seen to exist."""
        self.classes_known = True
        """Whether IngressClasses can be read at all."""

    async def inspect(self, service: ScoringService) -> IngressSurroundings:
        """The surroundings of the Ingress or the HTTPRoute of `service`."""
        if service.gateway is not None:
            return await self._inspect_gateway(service, service.gateway)
        ingress = published_ingress(service, self._settings)
        if ingress is None:
            facts = IngressFacts(True, Reason.INGRESS_NOT_WANTED, "the service is reachable inside the cluster only")
            return IngressSurroundings(IngressController.UNKNOWN, facts)
        classes = self._store.all(INGRESS_CLASS)
        found = find_class(ingress.class_name or self._settings.ingress_class, classes)
        controller = IngressController.of((found or {}).get("spec", {}).get("controller"))
        middlewares = controller is IngressController.TRAEFIK and await self._kinds.serves(MIDDLEWARE)
        problem = self._class_problem(ingress, found, classes) or await self._certificate_problem(service, ingress)
        if problem is not None:
            return IngressSurroundings(controller, problem, middlewares)
        name = found["metadata"]["name"] if found else "of the cluster"
        url = service_url(service, self._settings)
        facts = IngressFacts(True, Reason.INGRESS_ADMITTED, f"published at {url} by the IngressClass {name}")
        return IngressSurroundings(controller, facts, middlewares)

    async def _inspect_gateway(self, service: ScoringService, gateway: Gateway) -> IngressSurroundings:
        if not await self._kinds.serves(HTTP_ROUTE):
            facts = IngressFacts(
                False,
                Reason.GATEWAY_API_NOT_FOUND,
                "the cluster has no HTTPRoutes: install the Gateway API and an implementation, or write ingress",
            )
            return IngressSurroundings(IngressController.UNKNOWN, facts)
        mirroring = await self._features.mirroring(service)
        facts = self._route_facts(service, naming.route_name(service.name), gateway.parents)
        if gateway.redirect_from and facts.ready:
            redirect = self._route_facts(service, naming.redirect_route_name(service.name), gateway.redirect_from)
            facts = facts if redirect.ready else redirect
        return IngressSurroundings(IngressController.UNKNOWN, facts, routes=True, mirroring=mirroring)

    def _route_facts(self, service: ScoringService, name: str, parents: Sequence[GatewayParent]) -> IngressFacts:
        route = self._store.get(HTTP_ROUTE, service.namespace, name)
        return route_facts(route, parents, service_url(service, self._settings))

    def _class_problem(
        self, ingress: Ingress, found: KubeObject | None, classes: Sequence[KubeObject]
    ) -> IngressFacts | None:
        if found is not None or not self.classes_known:
            return None
        wanted = ingress.class_name or self._settings.ingress_class
        names = ", ".join(sorted(known["metadata"]["name"] for known in classes))
        remedy = f"set spec.ingress.className to one of {names}" if names else "install an ingress controller"
        problem = f"there is no IngressClass {wanted}" if wanted else "the cluster has no default IngressClass"
        return IngressFacts(False, Reason.INGRESS_CLASS_NOT_FOUND, f"{problem}: {remedy}")

    async def _certificate_problem(self, service: ScoringService, ingress: Ingress) -> IngressFacts | None:
        tls = ingress.tls
        if tls is None or tls.self_signed:
            return None
        name = tls.secret_name or naming.tls_secret_name(service.name)
        if await self._exists(service.namespace, name):
            return None
        if tls.secret_name:
            return IngressFacts(
                False,
                Reason.TLS_SECRET_NOT_FOUND,
                f"Secret {name} with the certificate does not exist in namespace {service.namespace}: create it with "
                f"`kubectl create secret tls {name} --cert=… --key=…`, or let spec.ingress.tls name an issuer",
            )
        return IngressFacts(
            False,
            Reason.CERTIFICATE_PENDING,
            f"cert-manager has not yet written Secret {name} for the {tls.issuer_kind} {tls.issuer}: "
            f"see `kubectl describe certificate {name}`",
        )

    async def _exists(self, namespace: str, name: str) -> bool:
        """Whether the Secret exists; asked seldom once it was seen."""
        key, moment = (namespace, name), self._steady()
        seen = self._seen.get(key)
        if seen is not None and moment - seen < self._settings.resync_seconds:
            return True
        exists = await self._kube.metadata(SECRET, namespace, name) is not None
        if exists:
            self._seen[key] = moment
        else:
            self._seen.pop(key, None)
        return exists


def find_class(name: str, classes: Sequence[KubeObject]) -> KubeObject | None:
    """The IngressClass of this name or, without a name, the one that is the cluster's default."""
    for found in classes:
        metadata = found["metadata"]
        if name and metadata["name"] == name:
            return found
        if not name and (metadata.get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
            return found
    return None
