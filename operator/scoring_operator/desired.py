"""The whole desired state of a service as a pure function: the list of its children, in the order to apply them."""

from typing import Any

from scoring_operator.resources.surroundings import BuilderSettings, Surroundings
from scoring_operator.spec import Ingress, ScoringService

Manifest = dict[str, Any]


def desired_children(service: ScoringService, surroundings: Surroundings) -> list[Manifest]:
    """Every object that should exist for `service`, each owned by it; what is not in the list is to be pruned.

    Raises ImageUnknown when a version names no image and `surroundings.images` has none for it.
    """
    raise NotImplementedError


def published_ingress(service: ScoringService, settings: BuilderSettings) -> Ingress | None:
    """How `service` is reached from outside: its own spec.ingress, or one made from the operator's domain, or None."""
    raise NotImplementedError


def self_signed_hosts(service: ScoringService, settings: BuilderSettings) -> tuple[str, ...]:
    """The DNS names that the operator must issue a certificate for; empty when TLS is not its business."""
    raise NotImplementedError


def service_url(service: ScoringService, settings: BuilderSettings) -> str:
    """The address to tell users: the ingress' if the service has one, else the one inside the cluster."""
    raise NotImplementedError
