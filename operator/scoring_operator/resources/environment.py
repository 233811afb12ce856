"""The environment of the two containers: the operator's half of the contract with the runtime's settings.

Values are plain strings. A variable is always given, also with the runtime's default, so that another default in a
later runtime changes no service.
"""

from scoring_operator.frameworks import GPU_FRAMEWORKS
from scoring_operator.resources.configmap import JWKS_FILE
from scoring_operator.resources.surroundings import Surroundings
from scoring_operator.spec import DataCollection, ScoringService, Token, Version

PORT = 8080
GRPC_PORT = 8081
METRICS_PORT = 8082
"""Metrics, the load report and the probes: out of reach of an Ingress, and answered however busy the model is."""
MODEL_DIR = "/mnt/model"
KEYS_DIR = "/etc/scoring/keys"
JWKS_DIR = "/etc/scoring/jwks"
PVC_ROOT = "/mnt/pvc"
COLLECTION_DIR = "/etc/scoring/collection"
TERMINATION_LOG = "/dev/termination-log"
DRAIN_SECONDS = 5
"""How long a stopping pod still takes requests, while proxies hear that it is leaving."""


EnvVar = dict[str, str]


def runtime_environment(service: ScoringService, version: Version, surroundings: Surroundings) -> list[EnvVar]:
    """The settings of `serve`. Raises ValueError when the surroundings lack the issuer of the service's tokens."""
    requests, batching = version.request_settings, version.batching
    return _variables(
        {
            "FRAMEWORK": version.model.framework,
            "MODEL_PATH": MODEL_DIR,
            "ENTRY_SCRIPT": version.model.entry_script,
            "MODEL_NAME": service.name,
            "MODEL_VERSION": version.name,
            "HOST": "0.0.0.0",  # noqa: S104 - a pod of its own
            "PORT": PORT,
            "METRICS_PORT": METRICS_PORT,
            "GRPC_PORT": GRPC_PORT if service.grpc else 0,
            "PATH_PREFIX": service.path_prefix if service.gateway or service.ingress else None,
            "AUTH": service.auth.value.lower(),
            "KEYS_DIR": KEYS_DIR,
            **(_token(service.token, surroundings) if service.token else {}),
            "TIMEOUT_SECONDS": requests.timeout_seconds,
            "MAX_CONCURRENT": requests.max_concurrent,
            "MAX_QUEUE_WAIT_MILLISECONDS": requests.max_queue_wait_milliseconds,
            "MAX_BODY_BYTES": requests.max_body_bytes,
            "BATCH_MAX_SIZE": batching.max_size,
            "BATCH_MAX_DELAY_MILLISECONDS": batching.max_delay_milliseconds,
            "DEVICE": "cuda" if version.gpu and version.model.framework in GPU_FRAMEWORKS else "cpu",
            **(_collection(version.data_collection) if version.data_collection else {}),
            "ACCELERATE": version.accelerate,
            "DRAIN_SECONDS": DRAIN_SECONDS,
            "TERMINATION_LOG": TERMINATION_LOG,
        }
    )


def fetch_environment(version: Version) -> list[EnvVar]:
    """The settings of `fetch`."""
    model = version.model
    return _variables(
        {
            "MODEL_URI": model.uri,
            "MODEL_SHA256": model.sha256,
            "MODEL_PATH": MODEL_DIR,
            "PVC_ROOT": PVC_ROOT if model.claim else None,
            "TERMINATION_LOG": TERMINATION_LOG,
        }
    )


def _collection(collection: DataCollection) -> dict[str, str | int | None]:
    return {
        "DATA_COLLECTION_URI": collection.uri,
        # Images of before this setting do not know it, and end at what they do not know.
        "DATA_COLLECTION_FORMAT": None if collection.format == DataCollection.format else collection.format,
        "DATA_COLLECTION_SAMPLING_PERCENT": collection.sampling_percent,
        "DATA_COLLECTION_CREDENTIALS_DIR": COLLECTION_DIR if collection.credentials_secret else None,
    }


def _token(token: Token, surroundings: Surroundings) -> dict[str, str]:
    """How the runtime verifies tokens; the cluster's keys come as a file, those of another issuer from its address."""
    issuer, jwks = token.issuer, token.jwks_uri
    if issuer is None or jwks is None:
        if surroundings.cluster_issuer is None:
            raise ValueError("the service takes the cluster's tokens, and the surroundings know no issuer")
        issuer, jwks = surroundings.cluster_issuer.issuer, f"{JWKS_DIR}/{JWKS_FILE}"
    return {
        "TOKEN_ISSUER": issuer,
        "TOKEN_AUDIENCE": token.audience,
        "TOKEN_JWKS": jwks,
        "TOKEN_SUBJECTS": ",".join(token.subjects),
    }


def _variables(values: dict[str, str | int | None]) -> list[EnvVar]:
    """Those that have a value: an empty one means "not set" to the runtime, and the API server does not keep it.

    A dollar sign is doubled, which is how Kubernetes is kept from expanding `$(NAME)`.
    """
    return [
        {"name": f"SCORING_{name}", "value": str(value).replace("$", "$$")}
        for name, value in values.items()
        if value not in (None, "")
    ]
