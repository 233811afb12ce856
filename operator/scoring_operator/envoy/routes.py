"""Which version gets a request: the one that it names in a header, else one by the shares.

The header `azureml-model-deployment` is what Azure's clients send, `scoring-version` the same by a name of our own.
Whatever version answers says so in both.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from scoring_operator.envoy.clusters import GRPC_SUFFIX
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import Traffic

VERSION_HEADERS = ("azureml-model-deployment", "scoring-version")
HTTP_ROUTES = "http"
GRPC_ROUTES = "grpc"

_SPARE_SECONDS = 5
"""On top of the pods' own timeout, so that their answer, which says more, is the one that arrives."""
_RETRY_BODY_BYTES = 1024 * 1024
_RETRIES = 3
_HOLD_PAUSE_SECONDS = 0.5
"""The longest pause between two looks for a pod that a waiting request needs."""
_RETRY_TYPES = "type.googleapis.com/envoy.extensions.retry"


def route_configurations(service: ScoringService, traffic: Traffic) -> list[dict[str, Any]]:
    """The routes of HTTP and, where it is served, of gRPC."""
    found = [_configuration(service, traffic, HTTP_ROUTES, "")]
    if service.grpc:
        found.append(_configuration(service, traffic, GRPC_ROUTES, GRPC_SUFFIX))
    return found


def routes_file(routes: str) -> str:
    """The file of a route configuration; Envoy takes one from each file, and no more."""
    return f"rds-{routes}.json"


def longest_timeout(service: ScoringService) -> int:
    """Seconds that the slowest version may take."""
    return max(version.request_settings.timeout_seconds for version in service.versions)


def hold_seconds(service: ScoringService) -> int:
    """How long a request waits for the first pod of a version that sleeps; 0 where none does."""
    sleepers = (version.autoscaling for version in service.versions if version.sleeps)
    return max((bounds.hold_seconds for bounds in sleepers if bounds is not None), default=0)


def request_timeout(service: ScoringService) -> int:
    """Seconds after which what stands in front of the pods, a router or a Gateway, gives a request up."""
    return longest_timeout(service) + hold_seconds(service) + _SPARE_SECONDS


def _configuration(service: ScoringService, traffic: Traffic, name: str, suffix: str) -> dict[str, Any]:
    limits = [_too_large(_largest_body(service))] if name == HTTP_ROUTES else []
    host = {
        "name": "scoring",
        "domains": ["*"],
        "routes": [*limits, *_picked(service, suffix), _shared(service, traffic, suffix)],
        "retry_policy": _retries(hold_seconds(service)),
        "request_body_buffer_limit": _kept_body(service),
    }
    return {"name": name, "virtual_hosts": [host]}


def _picked(service: ScoringService, suffix: str) -> Iterator[dict[str, Any]]:
    """A route for each version that a header may name, and the answer to a name that is none."""
    names = [version.name for version in service.versions]
    for header in VERSION_HEADERS:
        for name in names:
            yield {
                "name": f"picked-{name}",
                "match": {"prefix": "/", "headers": [{"name": header, "string_match": {"exact": name}}]},
                "route": {"cluster": name + suffix, **_action(service)},
                "response_headers_to_add": _version_headers(name),
            }
        yield {
            "name": "picked-none",
            "match": {"prefix": "/", "headers": [{"name": header, "present_match": True}]},
            **_refusal(
                404,
                "NotFound",
                f"the header {header} names no version of this service: write {' or '.join(names)}, or leave it out",
            ),
        }


def _too_large(limit: int) -> dict[str, Any]:
    """The answer to a body that says it is larger than any version takes; pods count what says nothing."""
    too_many = {"name": "content-length", "range_match": {"start": limit + 1, "end": 2**63 - 1}}
    return {
        "name": "too-large",
        "match": {"prefix": "/", "headers": [too_many]},
        **_refusal(413, "BodyTooLarge", f"the body is larger than {limit} bytes (requestSettings.maxBodyBytes)"),
    }


def _refusal(status: int, code: str, message: str) -> dict[str, Any]:
    body = json.dumps({"error": {"code": code, "message": message}})
    return {
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [_set_header("content-type", "application/json")],
    }


def _shared(service: ScoringService, traffic: Traffic, suffix: str) -> dict[str, Any]:
    """The split by shares, with a copy of some requests to each mirror.

    A sticky header's hash takes the place of the random number; without the header, Envoy draws one.
    """
    weighted = [
        {"name": name + suffix, "weight": share, "response_headers_to_add": _version_headers(name)}
        for name, share in traffic.weights.items()
    ]
    split: dict[str, Any] = {"clusters": weighted}
    route: dict[str, Any] = {"weighted_clusters": split, **_action(service)}
    if service.sticky_header:
        split["use_hash_policy"] = True
        route["hash_policy"] = [{"header": {"header_name": service.sticky_header}}]
    if traffic.mirrors:
        route["request_mirror_policies"] = list(_mirrors(traffic.mirrors, suffix))
    return {"name": "shared", "match": {"prefix": "/"}, "route": route}


def _mirrors(mirrors: Mapping[str, int], suffix: str) -> Iterator[dict[str, Any]]:
    for name, percent in mirrors.items():
        fraction = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
        yield {"cluster": name + suffix, "runtime_fraction": fraction, "disable_shadow_host_suffix_append": True}


def _action(service: ScoringService) -> dict[str, Any]:
    return {"timeout": f"{request_timeout(service)}s"}


def _retries(hold: int) -> dict[str, Any]:
    """When a request is sent once more: only if no pod can have begun with it, and then to another pod.

    Where versions sleep, a request that finds no pod is sent again and again for `hold` seconds: so it waits for one.
    The pauses are drawn between 0 and the longest.
    """
    pause = {"base_interval": "0.025s", "max_interval": "0.25s"}
    if hold:
        pause = {"base_interval": "0.1s", "max_interval": f"{_HOLD_PAUSE_SECONDS}s"}
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": max(_RETRIES, round(hold / (_HOLD_PAUSE_SECONDS / 2))),
        "retry_back_off": pause,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_RETRY_TYPES}.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": 3,
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{_RETRY_TYPES}.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 2,
            },
        },
    }


def _kept_body(service: ScoringService) -> int:
    """The largest body that is kept to be sent again; where versions sleep, all bodies, since each may have to wait."""
    largest = _largest_body(service)
    return largest if hold_seconds(service) else min(_RETRY_BODY_BYTES, largest)


def _largest_body(service: ScoringService) -> int:
    return max(version.request_settings.max_body_bytes for version in service.versions)


def _version_headers(version: str) -> list[dict[str, Any]]:
    return [_set_header(header, version) for header in VERSION_HEADERS]


def _set_header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
