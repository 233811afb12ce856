"""The ports of a router, which are those of the pods: HTTP, gRPC, and one for kubelet and Prometheus.

Envoy answers by itself only what never reaches a pod, and then in the same JSON as the pods. Bodies are streamed, so
that a router needs no memory for them.
"""

from typing import Any

from scoring_operator.envoy.bootstrap import ADMIN, address, file_source
from scoring_operator.envoy.routes import GRPC_ROUTES, HTTP_ROUTES, hold_seconds, longest_timeout, routes_file
from scoring_operator.resources.environment import GRPC_PORT, METRICS_PORT, PORT
from scoring_operator.spec import ScoringService

STATS_PATH = "/stats"
"""Where the operator asks how often each version was called; the query picks a few of Envoy's numbers."""
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - a pod of its own
_HEADERS_SECONDS = 10
_SPARE_SECONDS = 10
_TYPES = "type.googleapis.com/envoy.extensions"
_WORDS = {
    "UO": (503, "Overloaded", "too many requests wait for this version: try again later"),
    "UH": (503, "NotReady", "the version has no pod that is ready: try again later"),
    "UF": (503, "NotReady", "no pod of the version can be reached: try again later"),
    "NC": (503, "NotReady", "the router does not know the version yet: try again"),
    "UT": (504, "TimedOut", "the version did not answer in time"),
    "UC": (502, "ModelFailed", "the pod ended while it worked on the request"),
}
"""What is answered for Envoy's response flags
(https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage)."""


def listeners(service: ScoringService) -> list[dict[str, Any]]:
    """The listeners of a service's router."""
    found = [_listener("http", PORT, _requests(service, HTTP_ROUTES)), _listener("own", METRICS_PORT, _own(service))]
    if service.grpc:
        found.insert(1, _listener("grpc", GRPC_PORT, _requests(service, GRPC_ROUTES)))
    return found


def _listener(name: str, port: int, manager: dict[str, Any]) -> dict[str, Any]:
    config = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "server_header_transformation": "PASS_THROUGH",
        **manager,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}
    return {"name": name, "address": address(_EVERYWHERE, port), "filter_chains": [chain]}


def _requests(service: ScoringService, routes: str) -> dict[str, Any]:
    """The way of a request to a version."""
    return {
        "rds": {"config_source": file_source(routes_file(routes)), "route_config_name": routes},
        "http_filters": [_grpc_statuses(), _router()] if routes == GRPC_ROUTES else [_router()],
        "internal_address_config": {"unix_sockets": False},
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPES}.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
        "request_headers_timeout": f"{_HEADERS_SECONDS}s",
        "stream_idle_timeout": f"{longest_timeout(service) + hold_seconds(service) + _SPARE_SECONDS}s",
        "access_log": [_access_log()],
        "local_reply_config": _local_replies(),
    }


def _own(service: ScoringService) -> dict[str, Any]:
    """What kubelet and Prometheus ask: health, which ends when the router drains, and the metrics of Envoy."""
    health = {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"safe_regex": {"regex": "/(healthz|readyz)"}}}],
        },
    }
    metrics = {
        "match": {"path": "/metrics", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        "route": {"cluster": ADMIN, "regex_rewrite": _only("/stats/prometheus")},
    }
    numbers = {
        "match": {"path": STATS_PATH, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        "route": {"cluster": ADMIN},
    }
    routes = [metrics, numbers] if service.sleeps else [metrics]
    hosts = [{"name": "own", "domains": ["*"], "routes": routes}]
    return {"route_config": {"name": "own", "virtual_hosts": hosts}, "http_filters": [health, _router()]}


def _only(path: str) -> dict[str, Any]:
    """A rewrite of any path to this one."""
    return {"pattern": {"regex": ".*"}, "substitution": path}


def _router() -> dict[str, Any]:
    config = {"@type": f"{_TYPES}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    return {"name": "envoy.filters.http.router", "typed_config": config}


def _grpc_statuses() -> dict[str, Any]:
    """Counts the calls of each version by their gRPC status; their HTTP status is 200 whatever became of them."""
    config = {"@type": f"{_TYPES}.filters.http.grpc_stats.v3.FilterConfig", "stats_for_all_methods": False}
    return {"name": "envoy.filters.http.grpc_stats", "typed_config": config}


def _access_log() -> dict[str, Any]:
    """One JSON object a request: no header but the request's id, and no query, which may hold a key."""
    fields = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "version": "%UPSTREAM_CLUSTER_RAW%",
        "pod": "%UPSTREAM_HOST%",
        "milliseconds": "%DURATION%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "received_bytes": "%BYTES_RECEIVED%",
        "sent_bytes": "%BYTES_SENT%",
        "request_id": "%REQ(X-REQUEST-ID):100%",
    }
    config = {
        "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": fields},
    }
    return {"name": "envoy.access_loggers.stdout", "typed_config": config}


def _local_replies() -> dict[str, Any]:
    return {
        "mappers": [
            {
                "filter": {"response_flag_filter": {"flags": [flag]}},
                "status_code": status,
                "body_format_override": {
                    "json_format": {
                        "error": {"code": code, "message": message},
                        "requestId": "%REQ(X-REQUEST-ID):100%",
                    }
                },
            }
            for flag, (status, code, message) in _WORDS.items()
        ]
    }
