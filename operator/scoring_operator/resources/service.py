"""The Services of a ScoringService: the one that everybody calls, and those of single versions among several.

The first keeps its name and its ports whatever happens behind it: it selects the pods of one version, or the router.
"""

from typing import Any

from scoring_operator import naming
from scoring_operator.resources.environment import GRPC_PORT
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.pod import GRPC, HTTP
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import ROUTER

SERVICE_PORT = 80
_HTTP2 = "kubernetes.io/h2c"
"""HTTP/2 without TLS, for service meshes and proxies
(https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol)."""


def build_service(service: ScoringService, target: str) -> Manifest:
    """The Service that the Ingress and callers inside the cluster use; `target` is a version, or ROUTER."""
    made = manifest("v1", "Service", naming.service_name(service.name), service)
    selector = naming.router_selector(service.name) if target == ROUTER else naming.selector(service.name, target)
    made["spec"] = {"type": "ClusterIP", "selector": selector, "ports": _ports(service)}
    if service.sleeps:  # by its EndpointSlices the operator finds the router, which knows who calls
        made["metadata"]["labels"][naming.AUTOSCALED_LABEL] = "true"
    return made


def build_version_service(service: ScoringService, version: str) -> Manifest:
    """The Service of one version: what a Gateway sends its share to, and where a router tries again."""
    return _of_version(service, version, naming.version_service_name(service.name, version))


def build_pods_service(service: ScoringService, version: str) -> Manifest:
    """The headless Service by which router and autoscaler find the pods of one version that are ready."""
    made = _of_version(service, version, naming.pods_service_name(service.name, version), clusterIP="None")
    if any(other.name == version and other.polled for other in service.versions):
        made["metadata"]["labels"][naming.AUTOSCALED_LABEL] = "true"
    return made


def _of_version(service: ScoringService, version: str, name: str, **address: str) -> Manifest:
    made = manifest("v1", "Service", name, service)
    made["metadata"]["labels"] = naming.labels(service.name, version)
    selector = naming.selector(service.name, version)
    made["spec"] = {"type": "ClusterIP", **address, "selector": selector, "ports": _ports(service)}
    return made


def _ports(service: ScoringService) -> list[dict[str, Any]]:
    ports: list[dict[str, Any]] = [{"name": HTTP, "port": SERVICE_PORT, "targetPort": HTTP, "protocol": "TCP"}]
    if service.grpc:
        grpc = {"name": GRPC, "port": GRPC_PORT, "targetPort": GRPC, "protocol": "TCP", "appProtocol": _HTTP2}
        ports.append(grpc)
    return ports
