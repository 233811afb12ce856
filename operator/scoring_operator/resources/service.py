"""The Service in front of a ScoringService: port 80 (and 8081 for gRPC), to the pods of its default version."""

from typing import Any

from scoring_operator import naming
from scoring_operator.resources.environment import GRPC_PORT
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.pod import GRPC, HTTP
from scoring_operator.spec import ScoringService

SERVICE_PORT = 80
_HTTP2 = "kubernetes.io/h2c"
"""HTTP/2 without TLS, for service meshes and proxies
(https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol)."""


def build_service(service: ScoringService) -> Manifest:
    """The Service that the Ingress and callers inside the cluster use."""
    made = manifest("v1", "Service", naming.service_name(service.name), service)
    ports: list[dict[str, Any]] = [{"name": HTTP, "port": SERVICE_PORT, "targetPort": HTTP, "protocol": "TCP"}]
    if service.grpc:
        grpc = {"name": GRPC, "port": GRPC_PORT, "targetPort": GRPC, "protocol": "TCP", "appProtocol": _HTTP2}
        ports.append(grpc)
    made["spec"] = {
        "type": "ClusterIP",
        "selector": naming.selector(service.name, service.default_version.name),
        "ports": ports,
    }
    return made
