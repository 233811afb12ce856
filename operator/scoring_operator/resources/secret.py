"""The Secrets of a service: its keys, and the certificate that the operator's own authority issued."""

import base64

from scoring_operator import naming
from scoring_operator.certificates import Certificate
from scoring_operator.keys import PRIMARY, SECONDARY, Keys
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import ScoringService


def build_keys_secret(service: ScoringService, keys: Keys) -> Manifest:
    """The Secret that pods mount and callers get their key from."""
    made = manifest("v1", "Secret", naming.keys_secret_name(service.name), service)
    made["type"] = "Opaque"
    made["data"] = {PRIMARY: _base64(keys.primary.encode()), SECONDARY: _base64(keys.secondary.encode())}
    return made


def build_tls_secret(service: ScoringService, certificate: Certificate) -> Manifest:
    """The Secret that the Ingress serves its certificate from; `ca.crt` is what clients verify it with."""
    made = manifest("v1", "Secret", naming.tls_secret_name(service.name), service)
    made["type"] = "kubernetes.io/tls"
    made["data"] = {
        "tls.crt": _base64(certificate.certificate),
        "tls.key": _base64(certificate.key),
        "ca.crt": _base64(certificate.ca),
    }
    return made


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
