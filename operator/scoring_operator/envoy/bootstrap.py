"""What Envoy starts with: where its configuration lies. Nothing in it depends on a service."""

from typing import Any

FOLDER = "/etc/envoy"
"""Where the ConfigMap is mounted."""
ADMIN_PORT = 9901
"""Envoy's own interface, on the pod's loopback device: it can end Envoy, so nobody outside gets at it."""
ADMIN = "admin"
"""The cluster that is Envoy itself: its metrics are published through it."""

_DECADE = (10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90)
LATENCY_MILLISECONDS = (
    *range(1, 10),
    *(bound * power for power in (1, 10, 100) for bound in _DECADE),
    *(10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 3_600_000),
)
"""Upper bounds of what requests may have taken, for the metrics; with Envoy's own ones, 120 ms look like 240."""


def address(host: str, port: int) -> dict[str, Any]:
    """A TCP address as Envoy writes it."""
    return {"socket_address": {"address": host, "port_value": port}}


def file_source(name: str) -> dict[str, Any]:
    """A file of the folder as a source of configuration.

    The folder is watched and not the file: kubelet replaces what a link in it points at, all files at once.
    """
    return {
        "path_config_source": {"path": f"{FOLDER}/{name}", "watched_directory": {"path": FOLDER}},
        "resource_api_version": "V3",
    }


def bootstrap() -> dict[str, Any]:
    """The bootstrap configuration."""
    admin = {
        "name": ADMIN,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": ADMIN,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address("127.0.0.1", ADMIN_PORT)}}]}],
        },
    }
    return {
        "node": {"id": "router", "cluster": "scoring"},
        "admin": {"address": address("127.0.0.1", ADMIN_PORT)},
        "dynamic_resources": {"lds_config": file_source("lds.json"), "cds_config": file_source("cds.json")},
        "static_resources": {"clusters": [admin]},
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(LATENCY_MILLISECONDS)}
            ]
        },
        "stats_flush_interval": "1s",  # as old may durations be that the metrics do not have yet
    }
