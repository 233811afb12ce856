"""What all manifests have in common: the head with name and labels, and the owner."""

from typing import Any

from scoring_operator import naming
from scoring_operator.spec import API_VERSION, KIND, ScoringService

Manifest = dict[str, Any]


def manifest(api_version: str, kind: str, name: str, service: ScoringService) -> Manifest:
    """The beginning of a child of `service`, with the labels of the service and owned by it."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": service.namespace,
            "labels": naming.labels(service.name),
            "ownerReferences": [owner_reference(service)],
        },
    }


def owner_reference(service: ScoringService) -> dict[str, Any]:
    """What makes Kubernetes delete a child with its service, also while the operator is down."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": service.name,
        "uid": service.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
