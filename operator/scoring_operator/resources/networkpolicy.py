"""The opt-in NetworkPolicy: who may open a connection to a service's pods. What the pods call is left alone."""

from typing import Any

from scoring_operator import naming
from scoring_operator.resources.environment import PORT
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.surroundings import BuilderSettings
from scoring_operator.spec import NetworkPolicy, ScoringService

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def build_network_policy(service: ScoringService, policy: NetworkPolicy, settings: BuilderSettings) -> Manifest:
    """Lets in the pods of the service's namespace, the ingress controllers' namespaces, and the peers of `policy`."""
    made = manifest("networking.k8s.io/v1", "NetworkPolicy", naming.network_policy_name(service.name), service)
    peers: list[dict[str, Any]] = [
        {"podSelector": {}},
        *({"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: name}}} for name in settings.ingress_namespaces),
        *map(dict, policy.allow_from),
    ]
    made["spec"] = {
        "podSelector": {"matchLabels": {naming.SERVICE_LABEL: service.name}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": peers, "ports": [{"port": PORT, "protocol": "TCP"}]}],
    }
    return made
