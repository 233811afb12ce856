"""The HTTPRoute of a service that is reached through a Gateway, which splits and mirrors by itself.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute
"""

from collections.abc import Sequence
from typing import Any

from scoring_operator import naming
from scoring_operator.envoy.routes import VERSION_HEADERS, request_timeout
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.service import SERVICE_PORT
from scoring_operator.spec import Gateway, GatewayParent, ScoringService
from scoring_operator.traffic import ALL, Traffic

ROUTE_API = "gateway.networking.k8s.io/v1"


def build_route(service: ScoringService, gateway: Gateway, traffic: Traffic) -> Manifest:
    """The route by which the Gateways of `gateway` publish `service`, with the shares of `traffic`."""
    made = manifest(ROUTE_API, "HTTPRoute", naming.route_name(service.name), service)
    picked = [_picked(service, version.name) for version in service.versions] if len(service.versions) > 1 else []
    made["spec"] = {
        **_attached(gateway, gateway.parents),
        "rules": [*picked, _shared(service, traffic)],
    }
    return made


def build_redirect_route(service: ScoringService, gateway: Gateway) -> Manifest:
    """The route by which callers of plain HTTP are sent on to HTTPS; 301 is what every implementation knows."""
    made = manifest(ROUTE_API, "HTTPRoute", naming.redirect_route_name(service.name), service)
    redirect = {"scheme": "https", "statusCode": 301}
    made["spec"] = {
        **_attached(gateway, gateway.redirect_from),
        "rules": [
            {
                "matches": [{"path": _everything(service)}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
            }
        ],
    }
    return made


def _attached(gateway: Gateway, parents: Sequence[GatewayParent]) -> dict[str, Any]:
    """To which listeners a route belongs, and for which hosts."""
    attached: dict[str, Any] = {"parentRefs": [_parent(parent) for parent in parents]}
    if gateway.hostnames:
        attached["hostnames"] = list(gateway.hostnames)
    return attached


def _parent(parent: GatewayParent) -> dict[str, str]:
    named = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": parent.name}
    if parent.namespace:
        named["namespace"] = parent.namespace
    if parent.section:
        named["sectionName"] = parent.section
    return named


def _picked(service: ScoringService, version: str) -> dict[str, Any]:
    """The rule for requests that name the version in one of the headers."""
    matches = [
        {"path": _everything(service), "headers": [{"type": "Exact", "name": header, "value": version}]}
        for header in VERSION_HEADERS
    ]
    return {"matches": matches, "backendRefs": [_backend(service, version, 1)], "timeouts": _timeouts(service)}


def _shared(service: ScoringService, traffic: Traffic) -> dict[str, Any]:
    """The rule for all others: the shares, and a copy of some to each mirror."""
    rule: dict[str, Any] = {
        "matches": [{"path": _everything(service)}],
        "backendRefs": [_backend(service, name, share) for name, share in traffic.weights.items()],
        "timeouts": _timeouts(service),
    }
    if traffic.mirrors:
        rule["filters"] = [
            {"type": "RequestMirror", "requestMirror": _mirror(service, name, percent)}
            for name, percent in traffic.mirrors.items()
        ]
    return rule


def _everything(service: ScoringService) -> dict[str, str]:
    return {"type": "PathPrefix", "value": service.path_prefix or "/"}


def _mirror(service: ScoringService, version: str, percent: int) -> dict[str, Any]:
    """All of the requests need no percentage, which fewer implementations know."""
    mirror = {"backendRef": _reference(service, version)}
    return mirror if percent == ALL else {**mirror, "percent": percent}


def _backend(service: ScoringService, version: str, weight: int) -> dict[str, Any]:
    return {**_reference(service, version), "weight": weight}


def _reference(service: ScoringService, version: str) -> dict[str, Any]:
    name = naming.version_service_name(service.name, version)
    return {"group": "", "kind": "Service", "name": name, "port": SERVICE_PORT}


def _timeouts(service: ScoringService) -> dict[str, str]:
    return {"request": f"{request_timeout(service)}s"}
