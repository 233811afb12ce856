"""Traefik's Middleware that sends callers of plain HTTP to HTTPS; Traefik has no Ingress annotation for it."""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.surroundings import TRAEFIK_MIDDLEWARE_API
from scoring_operator.spec import ScoringService


def build_middleware(service: ScoringService) -> Manifest:
    """The redirect that the Ingress of `service` names in an annotation (see ingress_annotations)."""
    made = manifest(TRAEFIK_MIDDLEWARE_API, "Middleware", naming.middleware_name(service.name), service)
    made["spec"] = {"redirectScheme": {"scheme": "https", "permanent": True}}
    return made


def middleware_reference(service: ScoringService) -> str:
    """The Middleware of `service` as Traefik's annotations name it."""
    return f"{service.namespace}-{naming.middleware_name(service.name)}@kubernetescrd"
