"""The PodDisruptionBudgets of versions and of the router: a drained node takes one pod at a time."""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import ScoringService, Version


def build_pdb(service: ScoringService, version: Version) -> Manifest:
    """The budget of `version`, in numbers that never keep a node from being drained."""
    made = manifest("policy/v1", "PodDisruptionBudget", naming.pdb_name(service.name, version.name), service)
    made["metadata"]["labels"] = naming.labels(service.name, version.name)
    made["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": naming.selector(service.name, version.name)}}
    return made


def build_router_pdb(service: ScoringService) -> Manifest:
    """The budget of the router, where it has two pods."""
    made = manifest("policy/v1", "PodDisruptionBudget", naming.router_name(service.name), service)
    made["metadata"]["labels"] = naming.router_labels(service.name)
    made["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": naming.router_selector(service.name)}}
    return made


def needs_pdb(version: Version) -> bool:
    """Whether there is more than one pod to protect."""
    smallest = version.autoscaling.min_replicas if version.autoscaling else version.replicas
    return (smallest or 0) > 1
