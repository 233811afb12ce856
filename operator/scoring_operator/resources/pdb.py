"""The PodDisruptionBudgets of versions and of the router: a drained node takes one pod at a time."""

from collections.abc import Mapping

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import ScoringService, Version


def build_pdb(service: ScoringService, version: Version) -> Manifest:
    """The budget of `version`, in numbers that never keep a node from being drained."""
    made = _budget(service, naming.pdb_name(service.name, version.name), naming.selector(service.name, version.name))
    made["metadata"]["labels"] = naming.labels(service.name, version.name)
    return made


def build_router_pdb(service: ScoringService) -> Manifest:
    """The budget of the router, where it has two pods."""
    made = _budget(service, naming.router_name(service.name), naming.router_selector(service.name))
    made["metadata"]["labels"] = naming.router_labels(service.name)
    return made


def needs_pdb(version: Version) -> bool:
    """Whether there is more than one pod to protect."""
    smallest = version.autoscaling.min_replicas if version.autoscaling else version.replicas
    return (smallest or 0) > 1


def _budget(service: ScoringService, name: str, selector: Mapping[str, str]) -> Manifest:
    made = manifest("policy/v1", "PodDisruptionBudget", name, service)
    made["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": selector}}
    return made
