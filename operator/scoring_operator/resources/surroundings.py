"""What a service's children depend on besides its spec: the cluster, the operator's settings, and its secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from scoring_operator.certificates import Certificate
from scoring_operator.keys import Keys
from scoring_operator.tokens import ClusterIssuer
from scoring_operator.traffic import Live

TRAEFIK_MIDDLEWARE_API = "traefik.io/v1alpha1"


class IngressController(Enum):
    """The ingress controllers whose annotations the operator knows; the value starts IngressClass.spec.controller."""

    TRAEFIK = "traefik.io/ingress-controller"
    INGRESS_NGINX = "k8s.io/ingress-nginx"
    NGINX_INC = "nginx.org/ingress-controller"
    HAPROXY_TECH = "haproxy.org/ingress-controller"
    HAPROXY_INGRESS = "haproxy-ingress.github.io/controller"
    UNKNOWN = ""

    @classmethod
    def of(cls, controller: str | None) -> "IngressController":
        """The controller that an IngressClass names in `spec.controller`, also with a suffix such as `/internal`."""
        for known in cls:
            if known.value and controller and (controller == known.value or controller.startswith(known.value + "/")):
                return known
        return cls.UNKNOWN


class BuilderSettings(Protocol):
    """The operator's settings that reach a manifest; config.Settings has them all."""

    @property
    def namespace(self) -> str:
        """The operator's own namespace."""

    @property
    def image_pull_policy(self) -> str:
        """`Always`, `IfNotPresent` or `Never`, for the runtime image."""

    @property
    def router_image(self) -> str:
        """The image of Envoy, for services with several versions; empty: there can be none."""

    @property
    def ingress_domain(self) -> str:
        """Services without spec.ingress get the host NAME-NAMESPACE.DOMAIN; empty: they stay inside the cluster."""

    @property
    def ingress_class(self) -> str:
        """The IngressClass of services that name none; empty: the cluster's default class."""

    @property
    def ingress_tls(self) -> str:
        """TLS of hosts made from `ingress_domain`: `selfSigned`, `issuer:NAME` (a ClusterIssuer), or empty for none."""

    @property
    def ingress_namespaces(self) -> Sequence[str]:
        """The namespaces of ingress controllers, which a NetworkPolicy lets in."""


@dataclass(frozen=True)
class Surroundings:
    """Everything besides the service that its children are made of."""

    settings: BuilderSettings
    images: Mapping[str, str]
    """Version name → the runtime image to use unless the version names its own."""
    keys: Keys | None = None
    """Needed by services with keys."""
    cluster_issuer: ClusterIssuer | None = None
    """Needed by services that take the cluster's own tokens."""
    tls: Certificate | None = None
    """Needed by services whose certificate the operator issues (see desired.self_signed_hosts)."""
    ingress_controller: IngressController = IngressController.UNKNOWN
    live: Live = field(default_factory=Live)
    """Which pods are ready, and what else decides where requests go."""
    routes: bool = True
    """Whether the cluster serves the Gateway API's HTTPRoute kind."""
    scaled_objects: bool = True
    """Whether the cluster serves KEDA's ScaledObject kind."""
    middlewares: bool = field(default=True)
    """Whether the cluster serves Traefik's Middleware kind; without it HTTP is closed instead of redirected."""
