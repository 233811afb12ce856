"""The environment, parsed once into one frozen object.

Pods are configured by environment variables alone; `python -m scoring_runtime serve` also takes each of them as a flag.
A variable that starts with SCORING_ and is not one of these is an error, so that a typing mistake cannot pass silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from scoring_runtime.errors import SettingsInvalid

PREFIX = "SCORING_"

# Kubernetes gives every pod variables for the Services of its namespace (`enableServiceLinks`); a Service named
# scoring-x makes SCORING_X_SERVICE_HOST and its like, which are nobody's typing mistake.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
# The operator's own settings share the prefix.
_OPERATORS = f"{PREFIX}OPERATOR_"
_AZURES_ORIGINS = "AML_CORS_ORIGINS"


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Framework = Literal[
    "sklearn", "xgboost", "lightgbm", "pytorch", "onnx", "tensorflow", "keras", "mlflow", "huggingface", "script"
]


class Settings(BaseModel):
    """Everything that can be set, for `serve` and for `fetch`."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, protected_namespaces=())

    framework: Framework | None = None
    """The library that the model was trained with. `serve` needs it."""
    model_path: Path = Path("/mnt/model")
    """The folder with the model file (or that file itself); for `fetch` the destination."""
    model_name: str = "model"
    """The name of the ScoringService, shown in metrics and part of the paths of V1 and V2."""
    model_version: str = "default"
    """The name of its version, shown in metrics and part of the paths of V2."""
    host: str = "127.0.0.1"
    """The address to listen on. Pods say 0.0.0.0."""
    port: int = Field(default=8080, ge=1, le=65535)
    """The port to listen on."""
    grpc_port: int = Field(default=0, ge=0, le=65535)
    """The port of the Open Inference Protocol over gRPC, without TLS; 0: none."""
    path_prefix: str = ""
    """A path such as /faq under which every route answers as well, for an Ingress that does not strip its own path."""
    root: Literal["azure", "kserve"] = "azure"
    """What `GET /` answers: Healthy, or KServe's {"status":"alive"}."""
    auth: Literal["key", "token", "none"] = "key"
    """Who may score: bearers of a key, of a token, or everybody."""
    keys_dir: Path = Path("/etc/scoring/keys")
    """The folder with the files primary and secondary; read again when they change."""
    token_issuer: str = ""
    """auth token: who issues the tokens, the exact value of their claim `iss`."""
    token_audience: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = ()
    """auth token: whom the tokens are for, comma-separated; one of them must be in the claim `aud`."""
    token_jwks: str = ""
    """auth token: the issuer's public keys (RFC 7517): an https:// address, or a file, read again when it changes."""
    token_subjects: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = ()
    """auth token: who may score, comma-separated exact values of the claim `sub`; empty: every bearer of a token."""
    token_leeway_seconds: int = Field(default=30, ge=0, le=600)
    """auth token: by how much the issuer's clock and this one may differ, in seconds."""
    metrics_auth: Literal["none", "required"] = "none"
    """Whether /metrics and /load ask for the credential that scoring asks for."""
    docs_auth: Literal["none", "required"] = "required"
    """Whether the description of the API (/swagger.json) asks for the credential that scoring asks for."""
    ui: Literal["on", "off"] = "on"
    """Whether there is a page at /ui to try the model on."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """A port of their own for /metrics and /load, which the port for requests then does not serve; 0: the same port."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that serve, each with its part of the slots; they share the model's memory where that can be."""
    timeout_seconds: float = Field(default=60, gt=0, le=3600)
    """How long a request may take, in seconds, from its arrival at the queue; then 504."""
    body_timeout_seconds: float = Field(default=30, gt=0, le=3600)
    """How long a client may take to send a request's body, in seconds; then 408."""
    max_concurrent: int = Field(default=8, ge=1, le=1024)
    """Slots: how many requests may be in scoring at one time."""
    max_queue_wait_milliseconds: int = Field(default=500, ge=0, le=600_000)
    """How long a request waits for a slot, in milliseconds; then 503."""
    max_body_bytes: int = Field(default=10 * 1024 * 1024, ge=1, le=1024**3)
    """The largest request body in bytes, before and after decompression; more is 413."""
    batch_max_size: int = Field(default=32, ge=1, le=65536)
    """The most rows that the model is given at one time."""
    batch_max_delay_milliseconds: int = Field(default=0, ge=0, le=60_000)
    """How long a batch that is not full waits for more requests, in milliseconds. 0: it takes what is there."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where a PyTorch model computes; auto takes a GPU when there is one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """frameworks huggingface and pytorch: what the model computes in; the half as long types are for GPUs."""
    accelerate: Literal["none", "onnx", "compile"] = "none"
    """onnx: convert a model of scikit-learn, XGBoost or LightGBM; compile: torch.compile (pytorch, huggingface)."""
    trusted_types: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = ()
    """Types, comma-separated, that a .skops file may hold beside those that skops trusts by itself."""
    entry_script: str = "score.py"
    """framework script: the script's path inside the model folder."""
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_comma_separated)] = ()
    """Origins, comma-separated or *, whose web pages may call the service; AML_CORS_ORIGINS where this is not set."""
    data_collection_uri: str = ""
    """A folder that fsspec can write to, such as s3://logs/faq/, for a sample of requests and answers; empty: none."""
    data_collection_format: Literal["jsonl", "parquet"] = "jsonl"
    """What the sample is written as: JSON Lines, or Parquet, which needs the Python package pyarrow."""
    data_collection_sampling_percent: int = Field(default=100, ge=0, le=100)
    """How many of the requests are collected, in percent."""
    data_collection_credentials_dir: Path | None = None
    """A folder with one file for each of AWS' variables, for that folder; read again after a failure."""
    drain_seconds: float = Field(default=5, ge=0, le=600)
    """How long to go on accepting requests after SIGTERM, in seconds, while load balancers forget this pod."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """The least severe records that are written. Requests are logged at info."""
    termination_log: Path | None = None
    """The file that gets the reason of a fatal error; /dev/termination-log in pods."""
    model_uri: str | None = None
    """fetch: where the model is."""
    model_sha256: str | None = None
    """fetch: the sha256 that the model must have, 64 hexadecimal digits."""
    pvc_root: Path = Path("/mnt/pvc")
    """fetch: where the claim of a pvc:// address is mounted."""

    @field_validator("model_name", "model_version")
    @classmethod
    def _name_fits_a_path(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", value) or set(value) == {"."}:
            raise ValueError("it is part of paths: write it with letters, digits, '.', '_', '~' and '-'")
        return value

    @field_validator("path_prefix")
    @classmethod
    def _prefix_is_a_path(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
            raise ValueError(
                "write it like /faq: it starts with a slash and has letters, digits, '.', '_', '~' and '-'"
            )
        return value

    @field_validator("model_sha256")
    @classmethod
    def _sha256_is_hexadecimal(cls, value: str | None) -> str | None:
        if value is None or not value:
            return None
        value = value.lower().removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise ValueError("it must be 64 hexadecimal digits, as `sha256sum` prints them")
        return value

    @property
    def max_queue_wait_seconds(self) -> float:
        """How long a request waits for a slot, in seconds."""
        return self.max_queue_wait_milliseconds / 1000

    @property
    def batch_max_delay_seconds(self) -> float:
        """How long a batch that is not full waits for more, in seconds."""
        return self.batch_max_delay_milliseconds / 1000


def variable(field: str) -> str:
    """Return the name of the environment variable of a field: port → SCORING_PORT."""
    return PREFIX + field.upper()


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Parse the SCORING_ variables of `environment`.

    An empty value counts as not set, as in `env: [{name: SCORING_PATH_PREFIX, value: ""}]`.
    Raises SettingsInvalid with one line that names every bad variable and what is allowed.
    """
    fields = {variable(name): name for name in Settings.model_fields}
    unknown = sorted(name for name in environment if name not in fields and _is_ours(name))
    if unknown:
        raise SettingsInvalid(f"unknown {_listed(unknown)}; known are {', '.join(sorted(fields))}")
    values = {field: environment[name] for name, field in fields.items() if environment.get(name, "") != ""}
    if environment.get(_AZURES_ORIGINS):
        values.setdefault("cors_origins", environment[_AZURES_ORIGINS])
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsInvalid("; ".join(_sentence(problem, values) for problem in error.errors())) from None


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) and not name.startswith(_OPERATORS) and not _SERVICE_LINK.search(name)


def _listed(names: list[str]) -> str:
    return f"setting {names[0]}" if len(names) == 1 else f"settings {', '.join(names)}"


def _sentence(problem: object, values: Mapping[str, str]) -> str:
    assert isinstance(problem, dict)
    field = str(problem["loc"][0])
    said = str(problem["msg"]).removeprefix("Value error, ")
    said = said[0].lower() + said[1:]
    return f"{variable(field)}={values[field]!r}: {said}"
