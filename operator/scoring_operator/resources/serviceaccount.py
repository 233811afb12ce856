"""The ServiceAccount of a service's pods: an identity of its own, without a token and without any right."""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import Live


def build_service_account(service: ScoringService) -> Manifest:
    """The account that pods run under unless pod.serviceAccountName names another."""
    made = manifest("v1", "ServiceAccount", naming.service_account_name(service.name), service)
    made["automountServiceAccountToken"] = False
    return made


def needs_service_account(service: ScoringService, live: Live) -> bool:
    """Whether the router or any version runs under the service's own account; what leaves may do so, to its end."""
    leaves = live.router_lingers or bool(live.leaving)
    own = any(version.pod.service_account_name is None for version in service.versions)
    return service.needs_router or leaves or own
