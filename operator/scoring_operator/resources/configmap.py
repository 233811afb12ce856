"""The ConfigMap of a service that takes the cluster's own tokens: the public keys that its pods verify them with.

Pods have no token of their own to ask the API server with, and most clusters let nobody else read these keys.
"""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import ScoringService
from scoring_operator.tokens import ClusterIssuer

JWKS_FILE = "jwks.json"


def build_jwks(service: ScoringService, issuer: ClusterIssuer) -> Manifest:
    """The ConfigMap that pods mount; a key that comes or goes reaches them without a restart."""
    made = manifest("v1", "ConfigMap", naming.jwks_name(service.name), service)
    made["data"] = {JWKS_FILE: issuer.jwks}
    return made
