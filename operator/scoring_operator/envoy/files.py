"""The files of a router, put together."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from scoring_operator.envoy.bootstrap import FOLDER, bootstrap
from scoring_operator.envoy.clusters import clusters
from scoring_operator.envoy.drain import DRAIN_SCRIPT
from scoring_operator.envoy.listeners import listeners
from scoring_operator.envoy.routes import route_configurations, routes_file
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import Traffic

BOOTSTRAP_FILE = "bootstrap.json"
DRAIN_FILE = "drain.sh"

_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

__all__ = ["BOOTSTRAP_FILE", "DRAIN_FILE", "FOLDER", "router_files", "start_files"]


def start_files() -> dict[str, str]:
    """File name → content of what Envoy and its pod read only when they start; the same for every service."""
    return {BOOTSTRAP_FILE: _text(bootstrap()), DRAIN_FILE: DRAIN_SCRIPT}


def router_files(service: ScoringService, traffic: Traffic, leaving: Sequence[str] = ()) -> dict[str, str]:
    """File name → content, for the router of `service`; `leaving` versions can still be reached by their share."""
    start = start_files()
    return {
        BOOTSTRAP_FILE: start[BOOTSTRAP_FILE],
        "lds.json": _text(_response(_LISTENER, listeners(service))),
        "cds.json": _text(_response(_CLUSTER, clusters(service, leaving))),
        **{
            routes_file(routes["name"]): _text(_response(_ROUTES, [routes]))
            for routes in route_configurations(service, traffic)
        },
        DRAIN_FILE: start[DRAIN_FILE],
    }


def _response(kind: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    """A DiscoveryResponse, whose version tells in Envoy's `/config_dump` which file is in force."""
    digest = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": [{"@type": kind, **resource} for resource in resources]}


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
