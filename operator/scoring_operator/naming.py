"""Names and labels of everything the operator makes: at most 63 characters, and never the same for two owners.

Two services can ask for one Deployment name only by gluing: service `faq` with version `v1-b` and service `faq-v1` with
version `b` both read `faq-v1-b`. So a version without a hyphen is glued plainly (the last hyphen then shows where the
parts meet), and any other pair gets a hash of both parts after a double hyphen, which no plain name has in that place.
"""

import hashlib
from collections.abc import Mapping

MAX_NAME = 63
MAX_SERVICE_NAME = 40
MAX_VERSION_NAME = 15
FIELD_MANAGER = "scoring-operator"
REPLICAS_MANAGER = "scoring-operator-replicas"
"""The field manager of a Deployment's `replicas` where the spec does not say the number."""
AUTHORITY_SECRET = "scoring-operator-ca"  # noqa: S105 - the name of a Secret

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
SERVICE_LABEL = "scoring.dev/service"
VERSION_LABEL = "scoring.dev/version"
COMPONENT_LABEL = "scoring.dev/component"
AUTOSCALED_LABEL = "scoring.dev/autoscaled"
"""On the Services by which the operator finds the pods it asks for their load; EndpointSlices have their labels."""
ROUTER_COMPONENT = "router"

MANAGED_SELECTOR = f"{MANAGED_BY_LABEL}={FIELD_MANAGER}"
"""The label selector that all children match."""
AUTOSCALED_SELECTOR = f"{MANAGED_SELECTOR},{AUTOSCALED_LABEL}=true"
"""The label selector of the EndpointSlices whose pods are asked for their load."""

_HASH_LENGTH = 10
_ROUTER = "--router"
"""No version's name can give this end: it would have to start with a hyphen, and it is no hash."""


def deployment_name(service: str, version: str) -> str:
    """The name of a version's Deployment (and of its other version-level children)."""
    return _joined(service, version)


def pdb_name(service: str, version: str) -> str:
    """The name of a version's PodDisruptionBudget."""
    return _joined(service, version)


def service_name(service: str) -> str:
    """The name of the Service in front of a ScoringService."""
    return _short(service)


def version_service_name(service: str, version: str) -> str:
    """The name of the Service of one version among several; no ScoringService, whose Service has its name, reads so."""
    return _hashed(f"{service}-{version}", f"{service}/{version}")


def pods_service_name(service: str, version: str) -> str:
    """The name of the headless Service of one version among several."""
    return _hashed(f"{service}-{version}-pods", f"{service}/{version}/pods")


def router_name(service: str) -> str:
    """The name of a service's router: Deployment, ConfigMap and PodDisruptionBudget."""
    return f"{service}{_ROUTER}"


def autoscaler_name(service: str, version: str) -> str:
    """The name of a version's HorizontalPodAutoscaler."""
    return _joined(service, version)


def scaled_object_name(service: str, version: str) -> str:
    """The name of a version's ScaledObject: short enough for KEDA to put `keda-hpa-` in front of it."""
    return _joined(service, version, MAX_NAME - len("keda-hpa-"))


def keys_secret_name(service: str) -> str:
    """The name of the Secret that holds the keys of a service."""
    return _with_suffix(service, "keys")


def jwks_name(service: str) -> str:
    """The name of the ConfigMap with the keys that the cluster's tokens are verified with."""
    return _with_suffix(service, "jwks")


def tls_secret_name(service: str) -> str:
    """The name of the Secret that holds the certificate the operator or cert-manager issued."""
    return _with_suffix(service, "tls")


def ingress_name(service: str) -> str:
    """The name of a service's Ingress."""
    return _short(service)


def route_name(service: str) -> str:
    """The name of a service's HTTPRoute."""
    return _short(service)


def redirect_route_name(service: str) -> str:
    """The name of the HTTPRoute that redirects a service's callers to HTTPS."""
    return _with_suffix(service, "redirect")


def network_policy_name(service: str) -> str:
    """The name of a service's NetworkPolicy."""
    return _short(service)


def service_account_name(service: str) -> str:
    """The name of the ServiceAccount of a service's pods."""
    return _short(service)


def middleware_name(service: str) -> str:
    """The name of the Traefik Middleware that redirects a service's callers to HTTPS."""
    return _with_suffix(service, "redirect")


def host_label(service: str, namespace: str) -> str:
    """The first label of the host of a service without an ingress of its own, below the operator's domain.

    It reads `iris-team`, and `faq-de--team` where the service's own hyphen would leave open where the namespace begins:
    nobody can get another namespace's host by choosing names.
    """
    plain = f"{service}{'--' if '-' in service else '-'}{namespace}"
    if "--" not in service and "--" not in namespace and len(plain) <= MAX_NAME:
        return plain
    return _hashed(plain, f"{service}/{namespace}", "---")


def labels(service: str, version: str | None = None) -> dict[str, str]:
    """The labels of a child of `service`, with the version's on version-level children and pods."""
    found = {
        MANAGED_BY_LABEL: FIELD_MANAGER,
        NAME_LABEL: "scoring-runtime",
        INSTANCE_LABEL: service,
        SERVICE_LABEL: service,
    }
    return found if version is None else {**found, VERSION_LABEL: version}


def selector(service: str, version: str) -> dict[str, str]:
    """The labels that pick the pods of one version, and nothing else."""
    return {SERVICE_LABEL: service, VERSION_LABEL: version}


def router_labels(service: str) -> dict[str, str]:
    """The labels of the router's objects and pods, which no selector of a version picks."""
    return {**labels(service), NAME_LABEL: "scoring-router", COMPONENT_LABEL: ROUTER_COMPONENT}


def router_selector(service: str) -> dict[str, str]:
    """The labels that pick the pods of the router, and nothing else."""
    return {SERVICE_LABEL: service, COMPONENT_LABEL: ROUTER_COMPONENT}


def selector_text(wanted: Mapping[str, str]) -> str:
    """A label selector as the API takes it in a query and in `status.selector`."""
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def _joined(service: str, version: str, longest: int = MAX_NAME) -> str:
    plain = f"{service}-{version}"
    if "-" not in version and len(plain) <= longest:
        return plain
    return _hashed(plain[: longest - _HASH_LENGTH - 2], f"{service}/{version}")


def _with_suffix(service: str, suffix: str) -> str:
    plain = f"{service}-{suffix}"
    return plain if len(plain) <= MAX_NAME else _hashed(plain, f"{service}/{suffix}")


def _short(service: str) -> str:
    return service if len(service) <= MAX_NAME else _hashed(service, service)


def _hashed(readable: str, identity: str, separator: str = "--") -> str:
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{readable[: MAX_NAME - _HASH_LENGTH - len(separator)].rstrip('-')}{separator}{digest}"
