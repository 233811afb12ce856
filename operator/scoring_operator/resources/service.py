"""The Service in front of a ScoringService: port 80, to the pods of its default version."""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.pod import HTTP
from scoring_operator.spec import ScoringService

SERVICE_PORT = 80


def build_service(service: ScoringService) -> Manifest:
    """The Service that the Ingress and callers inside the cluster use."""
    made = manifest("v1", "Service", naming.service_name(service.name), service)
    made["spec"] = {
        "type": "ClusterIP",
        "selector": naming.selector(service.name, service.default_version.name),
        "ports": [{"name": HTTP, "port": SERVICE_PORT, "targetPort": HTTP, "protocol": "TCP"}],
    }
    return made
