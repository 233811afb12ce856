"""The opt-in NetworkPolicy: who may open a connection to a service's pods. What the pods call is left alone.

The operator is let in to the port of metrics where it asks the pods something.
"""

from collections.abc import Sequence
from typing import Any

from scoring_operator import naming
from scoring_operator.resources.environment import GRPC_PORT, METRICS_PORT, PORT
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.surroundings import BuilderSettings
from scoring_operator.spec import NetworkPolicy, ScoringService

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def build_network_policy(service: ScoringService, policy: NetworkPolicy, settings: BuilderSettings) -> Manifest:
    """Lets in the namespace's pods and `policy`'s peers; ingress controllers for HTTP, the operator for metrics."""
    made = manifest("networking.k8s.io/v1", "NetworkPolicy", naming.network_policy_name(service.name), service)
    ports = [PORT, *([GRPC_PORT] if service.grpc else []), METRICS_PORT]
    rules = [_rule([{"podSelector": {}}, *map(dict, policy.allow_from)], ports)]
    controllers = [
        {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: name}}} for name in settings.ingress_namespaces
    ]
    if controllers:  # without peers a rule lets everybody in
        rules.append(_rule(controllers, [PORT]))
    asked = any(version.accelerate or version.polled for version in service.versions)
    if asked or service.rollout is not None:
        rules.append(_rule([_operator(settings)], [METRICS_PORT]))
    made["spec"] = {
        "podSelector": {"matchLabels": {naming.SERVICE_LABEL: service.name}},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return made


def _operator(settings: BuilderSettings) -> dict[str, Any]:
    """The pods of the operator, as its chart labels them."""
    return {
        "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: settings.namespace}},
        "podSelector": {"matchLabels": {naming.NAME_LABEL: naming.FIELD_MANAGER}},
    }


def _rule(peers: list[dict[str, Any]], ports: Sequence[int]) -> dict[str, Any]:
    return {"from": peers, "ports": [{"port": port, "protocol": "TCP"} for port in ports]}
