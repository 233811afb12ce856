"""The kinds of objects that the operator reads, writes or watches, and where the API serves them.

To look after one more kind of child, add a line here; watching, caching, listing, applying and pruning follow.
"""

from dataclasses import dataclass

from scoring_operator.naming import AUTOSCALED_SELECTOR, MANAGED_SELECTOR


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of the Kubernetes API; the constants below are the only ones, so identity is equality."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    selector: str = ""
    """The label selector that lists and watches of this kind use; empty selects everything."""
    optional: bool = False
    """Whether a cluster may lack the kind, or an operator the permission to read it."""

    @property
    def api_version(self) -> str:
        """`apiVersion` in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The URL path of the collection (of one namespace or of all), or of one object in it."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/" + "/".join(parts)

    def __str__(self) -> str:
        return self.kind


SCORING_SERVICE = Kind("scoring.dev", "v1alpha1", "ScoringService", "scoringservices")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", selector=AUTOSCALED_SELECTOR)
"""The addresses of the pods that the autoscaler asks for their load."""
INGRESS_CLASS = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", namespaced=False, optional=True)


def _child(group: str, version: str, kind: str, plural: str, *, optional: bool = False) -> Kind:
    return Kind(group, version, kind, plural, selector=MANAGED_SELECTOR, optional=optional)


DEPLOYMENT = _child("apps", "v1", "Deployment", "deployments")
SERVICE = _child("", "v1", "Service", "services")
SECRET = _child("", "v1", "Secret", "secrets")
CONFIG_MAP = _child("", "v1", "ConfigMap", "configmaps")
INGRESS = _child("networking.k8s.io", "v1", "Ingress", "ingresses")
MIDDLEWARE = _child("traefik.io", "v1alpha1", "Middleware", "middlewares", optional=True)
AUTOSCALER = _child("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
SCALED_OBJECT = _child("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", optional=True)
HTTP_ROUTE = _child("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", optional=True)

CHILDREN = (
    _child("", "v1", "ServiceAccount", "serviceaccounts"),
    SECRET,
    CONFIG_MAP,
    SERVICE,
    DEPLOYMENT,
    INGRESS,
    MIDDLEWARE,
    HTTP_ROUTE,
    AUTOSCALER,
    SCALED_OBJECT,
    _child("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    _child("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
)
"""What a ScoringService may own; only objects with the operator's label are watched and listed."""

WATCHED = (SCORING_SERVICE, *CHILDREN, INGRESS_CLASS, ENDPOINT_SLICE)

POD = Kind("", "v1", "Pod", "pods")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
CORE_EVENT = Kind("", "v1", "Event", "events")
EVENT = Kind("events.k8s.io", "v1", "Event", "events")
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
GATEWAY_CLASS = Kind("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses", namespaced=False)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")

_CHILD_BY_NAME = {(kind.api_version, kind.kind): kind for kind in CHILDREN}


def child_kind(api_version: str, kind: str) -> Kind:
    """The kind of a manifest that the operator is to apply. Raises KeyError for one that is not in the table."""
    return _CHILD_BY_NAME[(api_version, kind)]
