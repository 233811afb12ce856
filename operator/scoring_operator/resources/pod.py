"""The pod template of a version: `fetch` brings the model into a folder, `runtime` serves it from there.

It passes the `restricted` Pod Security Standard
(https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted).
"""

from collections.abc import Mapping
from typing import Any

from scoring_operator import naming
from scoring_operator.resources.environment import (
    COLLECTION_DIR,
    DRAIN_SECONDS,
    GRPC_PORT,
    JWKS_DIR,
    KEYS_DIR,
    METRICS_PORT,
    MODEL_DIR,
    PORT,
    PVC_ROOT,
    fetch_environment,
    runtime_environment,
)
from scoring_operator.resources.surroundings import Surroundings
from scoring_operator.spec import Auth, Pod, Resources, ScoringService, Version
from scoring_operator.spec.sizes import GPU_RESOURCE

FETCH = "fetch"
RUNTIME = "runtime"
HTTP = "http"
GRPC = "grpc"
METRICS = "metrics"
USER_ID = 65532
STARTUP_SECONDS = 600
DOCKER_CONFIG = "DOCKER_AUTH_CONFIG"
"""Where the fetch looks for the credentials of registries."""
SPARE_SECONDS = 5
"""Between the last answer of a draining pod and its end."""
COLLECTION_SECONDS = 5
"""What a pod that collects data has to write the rest of it (the runtime's COLLECTION_CLOSE_SECONDS, and one more)."""
_GROUP_READS = 0o440

_TMP_DIR = "/tmp"  # noqa: S108 - the container's own


def pod_template(service: ScoringService, version: Version, image: str, surroundings: Surroundings) -> dict[str, Any]:
    """The pod template of `version`, served by `image`."""
    pod, pull_policy = version.pod, surroundings.settings.image_pull_policy
    metadata: dict[str, Any] = {"labels": {**pod.labels, **naming.labels(service.name, version.name)}}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    spec = {
        "serviceAccountName": pod.service_account_name or naming.service_account_name(service.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": user_security(fsGroup=USER_ID),
        "terminationGracePeriodSeconds": _seconds_to_end(version),
        "initContainers": [{**_container(image, pull_policy), **_fetch(version)}],
        "containers": [{**_container(image, pull_policy), **_runtime(service, version, surroundings)}],
        "volumes": _volumes(service, version),
        **_placement(pod),
    }
    return {"metadata": metadata, "spec": spec}


def user_security(**more: int) -> dict[str, Any]:
    """The security context of a pod that needs no rights; `more` are further fields of it."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        **more,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """The security context of each container."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def container_ports(service: ScoringService) -> list[dict[str, Any]]:
    """The ports of a model or a router; they have the same names, which the Service in front goes by."""
    ports = {HTTP: PORT, **({GRPC: GRPC_PORT} if service.grpc else {}), METRICS: METRICS_PORT}
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]


def probe(path: str, period: int, failures: int) -> dict[str, Any]:
    """A question on the port of the metrics every `period` seconds; what it decides takes `failures` in a row."""
    return {
        "httpGet": {"path": path, "port": METRICS},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _seconds_to_end(version: Version) -> int:
    collecting = COLLECTION_SECONDS if version.data_collection else 0
    return DRAIN_SECONDS + version.request_settings.timeout_seconds + SPARE_SECONDS + collecting


def _container(image: str, pull_policy: str) -> dict[str, Any]:
    return {"image": image, "imagePullPolicy": pull_policy, "securityContext": container_security()}


def _fetch(version: Version) -> dict[str, Any]:
    """The init container.

    It has the runtime container's own resources without the GPUs: a pod's request is the larger of the two, so they
    cost nothing, keep the pod's quality of service, and a namespace's quota finds every value it asks for.
    """
    model = version.model
    mounts = [_mount("model", MODEL_DIR), _mount("tmp", _TMP_DIR)]
    if model.claim:
        mounts.append(_mount("claim", PVC_ROOT, read_only=True))
    fetch: dict[str, Any] = {
        "name": FETCH,
        "args": ["fetch"],
        "env": [*fetch_environment(version), *map(dict, version.pod.env)],
        "resources": _resources(version.resources, gpu=0),
        "volumeMounts": mounts,
    }
    if model.credentials_secret:
        fetch["envFrom"] = [{"secretRef": {"name": model.credentials_secret}}]
        if model.scheme == "oci" and not any(variable["name"] == DOCKER_CONFIG for variable in fetch["env"]):
            fetch["env"].append(_docker_config(model.credentials_secret))
    return _without_empty(fetch)


def _docker_config(secret: str) -> dict[str, Any]:
    """What `kubectl create secret docker-registry` makes; envFrom leaves it out, its key being no variable's name."""
    reference = {"name": secret, "key": ".dockerconfigjson", "optional": True}
    return {"name": DOCKER_CONFIG, "valueFrom": {"secretKeyRef": reference}}


def _runtime(service: ScoringService, version: Version, surroundings: Surroundings) -> dict[str, Any]:
    """The container that serves.

    The probes ask the port of the metrics, which has threads of its own: on the port of the requests they would wait
    behind hundreds of these, and kubelet would restart a pod for being busy.
    """
    mounts = [_mount("model", MODEL_DIR, read_only=True), _mount("tmp", _TMP_DIR)]
    if service.auth is Auth.KEY:
        mounts.append(_mount("keys", KEYS_DIR, read_only=True))
    if service.trusts_the_cluster:
        mounts.append(_mount("jwks", JWKS_DIR, read_only=True))
    if version.data_collection and version.data_collection.credentials_secret:
        mounts.append(_mount("collection", COLLECTION_DIR, read_only=True))
    runtime = {
        "name": RUNTIME,
        "args": ["serve"],
        "env": [*runtime_environment(service, version, surroundings), *map(dict, version.pod.env)],
        "ports": container_ports(service),
        "startupProbe": probe("/readyz", period=1, failures=STARTUP_SECONDS),
        "readinessProbe": probe("/readyz", period=5, failures=2),
        "livenessProbe": probe("/healthz", period=10, failures=3),
        "resources": _resources(version.resources, gpu=version.gpu),
        "volumeMounts": mounts,
    }
    return _without_empty(runtime)


def _mount(volume: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": volume, "mountPath": path}
    return {**mount, "readOnly": True} if read_only else mount


def _resources(resources: Resources, gpu: int) -> dict[str, dict[str, str]]:
    """Requests and limits; GPUs are limits, which Kubernetes takes for the request too."""
    limits = {**resources.limits, GPU_RESOURCE: str(gpu)} if gpu else dict(resources.limits)
    return _without_empty({"requests": dict(resources.requests), "limits": limits})


def _volumes(service: ScoringService, version: Version) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [{"name": "model", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    if service.auth is Auth.KEY:
        secret = {"secretName": naming.keys_secret_name(service.name), "defaultMode": _GROUP_READS}
        volumes.append({"name": "keys", "secret": secret})
    if service.trusts_the_cluster:
        volumes.append({"name": "jwks", "configMap": {"name": naming.jwks_name(service.name)}})
    if version.model.claim:
        claim = {"claimName": version.model.claim, "readOnly": True}
        volumes.append({"name": "claim", "persistentVolumeClaim": claim})
    if version.data_collection and version.data_collection.credentials_secret:
        # Optional: a pod that cannot write its records still serves, and says so in its log and its metrics.
        name = version.data_collection.credentials_secret
        secret = {"secretName": name, "defaultMode": _GROUP_READS, "optional": True}
        volumes.append({"name": "collection", "secret": secret})
    return volumes


def _placement(pod: Pod) -> dict[str, Any]:
    return _without_empty(
        {
            "nodeSelector": dict(pod.node_selector),
            "tolerations": [dict(toleration) for toleration in pod.tolerations],
            "affinity": dict(pod.affinity),
            "topologySpreadConstraints": [dict(constraint) for constraint in pod.topology_spread_constraints],
            "imagePullSecrets": [{"name": name} for name in pod.image_pull_secrets],
            "priorityClassName": pod.priority_class_name,
            "runtimeClassName": pod.runtime_class_name,
        }
    )


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something; the API server does not keep empty ones."""
    return {name: value for name, value in fields.items() if value}
