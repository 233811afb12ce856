"""Where the pods of each version are, and how requests are spread over them.

The pods are found by the headless Service of the version, so that each request goes to the pod with the fewest at
hand. Behind them, with a lower priority, stands the version's ordinary Service: a retry goes there, because a DNS
server may still tell the addresses of pods that are gone when kube-proxy has long known better.

The limits of a cluster are those of the queues behind it: what all pods together would refuse is refused here. Only
pods that cannot be reached are left out for a while; an answer never counts against a pod, since 503 means busy and
500 is a matter of the model and the input.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from scoring_operator import naming
from scoring_operator.envoy.bootstrap import address
from scoring_operator.resources.environment import GRPC_PORT, PORT
from scoring_operator.resources.service import SERVICE_PORT
from scoring_operator.spec import ScoringService, Version

WAITING_PER_SLOT = 16
MIN_WAITING = 240
"""How many requests may wait in a pod (the runtime's own numbers; tests/contract compares them)."""
GRPC_SUFFIX = "-grpc"
"""Ends the name of the cluster of a version's gRPC port; HTTP's has the version's own name."""

IDLE_SECONDS = 10
"""A connection that nobody uses is closed by the router, and not by the pod while a request is on its way."""
_CONNECT_SECONDS = 2


_FEWEST_AT_HAND = {
    "name": "envoy.load_balancing_policies.least_request",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        "selection_method": "FULL_SCAN",  # of all pods, and not of two drawn by chance: a version has few
    },
}


def clusters(service: ScoringService, leaving: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The clusters of all versions, and of those that leave."""
    limits = {version.name: _queue_limit(version) for version in service.versions}
    limits.update(dict.fromkeys(leaving, max(limits.values())))
    return [cluster for name, limit in limits.items() for cluster in _of_version(service, name, limit)]


def version_of_cluster(cluster: str, versions: Collection[str]) -> str | None:
    """The version, among these, that a cluster of the router stands for; None for none."""
    for name in (cluster, cluster.removesuffix(GRPC_SUFFIX)):
        if name in versions:
            return name
    return None


def _of_version(service: ScoringService, version: str, limit: int) -> Iterator[dict[str, Any]]:
    http = _cluster(version, limit, _endpoints(service, version, (PORT, SERVICE_PORT)))
    idle = {"common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS}s"}}
    http["typed_extension_protocol_options"] = _protocol({"http_protocol_options": {}}, idle)
    yield http
    if service.grpc:
        grpc = _cluster(version + GRPC_SUFFIX, limit, _endpoints(service, version, (GRPC_PORT, GRPC_PORT)))
        grpc["typed_extension_protocol_options"] = _protocol({"http2_protocol_options": {}}, {})
        yield grpc


def _queue_limit(version: Version) -> int:
    """How many requests all pods of a version take at a time, scored and waiting."""
    pods = version.autoscaling.max_replicas if version.autoscaling else version.replicas
    slots = version.request_settings.max_concurrent
    return max(pods or 0, 1) * (slots + max(MIN_WAITING, WAITING_PER_SLOT * slots))


def _cluster(name: str, limit: int, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    thresholds = {
        "max_connections": 2 * limit,  # a request without a connection waits for one, and is not refused
        "max_pending_requests": limit,
        "max_requests": limit,
        "max_retries": limit,
        "track_remaining": True,
    }
    return {
        "name": name,
        "cluster_type": {
            "name": "envoy.cluster.dns",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_lookup_family": "V4_PREFERRED",
                "dns_refresh_rate": "2s",
                "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "2s"},
            },
        },
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "load_balancing_policy": {"policies": [{"typed_extension_config": _FEWEST_AT_HAND}]},
        "circuit_breakers": {"thresholds": [thresholds]},
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_time": "30s",
            "max_ejection_percent": 50,
        },
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _endpoints(service: ScoringService, version: str, ports: tuple[int, int]) -> list[dict[str, Any]]:
    """The pods themselves, and behind them the Service; by short names, which need one DNS query each."""
    hosts = (naming.pods_service_name(service.name, version), naming.version_service_name(service.name, version))
    return [
        {"priority": priority, "lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}
        for priority, (host, port) in enumerate(zip(hosts, ports, strict=True))
    ]


def _protocol(explicit: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": explicit,
        **more,
    }
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
