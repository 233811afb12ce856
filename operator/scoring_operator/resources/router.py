"""A service's router, Envoy: its Deployment, and the ConfigMap with its files. It splits and mirrors the traffic.

Its pods have the ports of the models' own, so that the Service in front needs no other ones. They pass the `restricted`
Pod Security Standard. A change of shares changes no pod: the files are mounted and watched.
"""

import hashlib
from typing import Any

from scoring_operator import naming
from scoring_operator.envoy import BOOTSTRAP_FILE, DRAIN_FILE, FOLDER, router_files, start_files
from scoring_operator.envoy.routes import hold_seconds, longest_timeout
from scoring_operator.errors import RouterImageUnknown
from scoring_operator.resources.environment import DRAIN_SECONDS
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.pdb import needs_pdb
from scoring_operator.resources.pod import (
    METRICS,
    SPARE_SECONDS,
    container_ports,
    container_security,
    probe,
    user_security,
)
from scoring_operator.resources.surroundings import Surroundings
from scoring_operator.spec import ScoringService
from scoring_operator.traffic import Live, Traffic

STARTED_WITH = "scoring.dev/started-with"
"""The annotation with a hash of the files that Envoy reads only when it starts."""
_THREADS = 2
_REPLICAS = 2
_RESOURCES = {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}}


def build_router_files(service: ScoringService, traffic: Traffic, live: Live) -> Manifest:
    """The ConfigMap with Envoy's files; a router reads it when it starts, also while the operator is down."""
    made = manifest("v1", "ConfigMap", naming.router_name(service.name), service)
    made["metadata"]["labels"] = naming.router_labels(service.name)
    made["data"] = router_files(service, traffic, live.leaving)
    return made


def build_router(service: ScoringService, surroundings: Surroundings) -> Manifest:
    """The Deployment of the router. Raises RouterImageUnknown when the operator has no image for it."""
    if not surroundings.settings.router_image:
        raise RouterImageUnknown
    made = manifest("apps/v1", "Deployment", naming.router_name(service.name), service)
    made["metadata"]["labels"] = naming.router_labels(service.name)
    made["spec"] = {
        "replicas": router_replicas(service),
        "selector": {"matchLabels": naming.router_selector(service.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "revisionHistoryLimit": 1,
        "template": {
            "metadata": {
                "labels": naming.router_labels(service.name),
                "annotations": {STARTED_WITH: _files_of_the_start()},
            },
            "spec": _pod(service, surroundings),
        },
    }
    return made


def router_replicas(service: ScoringService) -> int:
    """Two where a version has more than one pod: then the loss of a node is not to be noticed."""
    return _REPLICAS if any(needs_pdb(version) for version in service.versions) else 1


def _pod(service: ScoringService, surroundings: Surroundings) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": naming.service_account_name(service.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": user_security(),  # without a group of files, which would restart routers that are there
        "terminationGracePeriodSeconds": DRAIN_SECONDS + _patience(service) + 2 * SPARE_SECONDS,
        "containers": [_container(service, surroundings)],
        "volumes": [{"name": "files", "configMap": {"name": naming.router_name(service.name)}}],
    }
    secrets = service.default_version.pod.image_pull_secrets
    if secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in secrets]
    if router_replicas(service) > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": naming.router_selector(service.name)},
            }
        ]
    return pod


def _patience(service: ScoringService) -> int:
    return longest_timeout(service) + hold_seconds(service)


def _container(service: ScoringService, surroundings: Surroundings) -> dict[str, Any]:
    return {
        "name": "envoy",
        "image": surroundings.settings.router_image,
        "imagePullPolicy": surroundings.settings.image_pull_policy,
        "command": ["envoy"],
        "args": [
            "--config-path",
            f"{FOLDER}/{BOOTSTRAP_FILE}",
            "--concurrency",
            str(_THREADS),
            "--log-level",
            "warn",
            "--disable-hot-restart",
        ],
        "ports": container_ports(service),
        "startupProbe": probe("/readyz", period=1, failures=120),
        "readinessProbe": probe("/readyz", period=5, failures=2),
        "livenessProbe": _alive(),
        "lifecycle": {"preStop": {"exec": {"command": ["bash", f"{FOLDER}/{DRAIN_FILE}"]}}},
        "resources": _RESOURCES,
        "securityContext": container_security(),
        "volumeMounts": [{"name": "files", "mountPath": FOLDER, "readOnly": True}],
    }


def _alive() -> dict[str, Any]:
    """Whether Envoy takes connections at all: /healthz also fails while it drains, which is no reason to kill it."""
    return {"tcpSocket": {"port": METRICS}, "periodSeconds": 10, "timeoutSeconds": 2, "failureThreshold": 3}


def _files_of_the_start() -> str:
    return hashlib.sha256("".join(start_files().values()).encode()).hexdigest()[:16]
