"""What is known of the cluster as an issuer of tokens: pure. Its ServiceAccounts' tokens are signed by the API server.

Who issues them and with which public keys they are verified is told by two documents that the API server publishes
(https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring_operator.errors import IssuerUnknown

CONFIGURATION_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"


@dataclass(frozen=True)
class ClusterIssuer:
    """Who signs the tokens of the cluster's ServiceAccounts, and how their signatures are verified."""

    issuer: str
    """The claim `iss` of the tokens."""
    jwks: str
    """The public keys, as the text of a JSON Web Key Set (RFC 7517); the same keys always make the same text."""


def read_cluster_issuer(configuration: Mapping[str, Any], key_set: Mapping[str, Any]) -> ClusterIssuer:
    """The issuer that the API server's two documents describe. Raises IssuerUnknown when they do not."""
    issuer, keys = configuration.get("issuer"), key_set.get("keys")
    if not isinstance(issuer, str) or not issuer:
        raise IssuerUnknown(f"{CONFIGURATION_PATH} names no issuer")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, Mapping) for key in keys):
        raise IssuerUnknown(f"{KEYS_PATH} holds no keys")
    ordered = sorted(keys, key=lambda key: json.dumps(key, sort_keys=True))
    return ClusterIssuer(issuer, json.dumps({"keys": ordered}, sort_keys=True, separators=(",", ":")))
