"""The ServiceAccount of a service's pods: an identity of its own, without a token and without any right."""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import ScoringService


def build_service_account(service: ScoringService) -> Manifest:
    """The account that pods run under unless pod.serviceAccountName names another."""
    made = manifest("v1", "ServiceAccount", naming.service_account_name(service.name), service)
    made["automountServiceAccountToken"] = False
    return made


def needs_service_account(service: ScoringService) -> bool:
    """Whether any version, or the router, runs under the service's own account."""
    return len(service.versions) > 1 or any(version.pod.service_account_name is None for version in service.versions)
