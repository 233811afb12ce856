"""The HTTPRoute of a service that is reached through a Gateway, which splits and mirrors by itself.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute
"""

from typing import Any

from scoring_operator import naming
from scoring_operator.envoy.routes import VERSION_HEADERS, request_timeout
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.service import SERVICE_PORT
from scoring_operator.spec import Gateway, ScoringService
from scoring_operator.traffic import Traffic

ROUTE_API = "gateway.networking.k8s.io/v1"


def build_route(service: ScoringService, gateway: Gateway, traffic: Traffic) -> Manifest:
    """The route by which the Gateways of `gateway` publish `service`, with the shares of `traffic`."""
    made = manifest(ROUTE_API, "HTTPRoute", naming.route_name(service.name), service)
    picked = [_picked(service, version.name) for version in service.versions] if len(service.versions) > 1 else []
    made["spec"] = {
        "parentRefs": [_parent(parent.name, parent.namespace) for parent in gateway.parents],
        "rules": [*picked, _shared(service, traffic)],
    }
    if gateway.hostnames:
        made["spec"]["hostnames"] = list(gateway.hostnames)
    return made


def _parent(name: str, namespace: str | None) -> dict[str, str]:
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name}
    return {**parent, "namespace": namespace} if namespace else parent


def _picked(service: ScoringService, version: str) -> dict[str, Any]:
    """The rule for requests that name the version in one of the headers."""
    matches = [
        {"path": _EVERYTHING, "headers": [{"type": "Exact", "name": header, "value": version}]}
        for header in VERSION_HEADERS
    ]
    return {"matches": matches, "backendRefs": [_backend(service, version, 1)], "timeouts": _timeouts(service)}


def _shared(service: ScoringService, traffic: Traffic) -> dict[str, Any]:
    """The rule for all others: the shares, and a copy of some to each mirror."""
    rule: dict[str, Any] = {
        "matches": [{"path": _EVERYTHING}],
        "backendRefs": [_backend(service, name, share) for name, share in traffic.weights.items()],
        "timeouts": _timeouts(service),
    }
    if traffic.mirrors:
        rule["filters"] = [
            {"type": "RequestMirror", "requestMirror": {"backendRef": _reference(service, name), "percent": percent}}
            for name, percent in traffic.mirrors.items()
        ]
    return rule


_EVERYTHING = {"type": "PathPrefix", "value": "/"}


def _backend(service: ScoringService, version: str, weight: int) -> dict[str, Any]:
    return {**_reference(service, version), "weight": weight}


def _reference(service: ScoringService, version: str) -> dict[str, Any]:
    name = naming.version_service_name(service.name, version)
    return {"group": "", "kind": "Service", "name": name, "port": SERVICE_PORT}


def _timeouts(service: ScoringService) -> dict[str, str]:
    return {"request": f"{request_timeout(service)}s"}
