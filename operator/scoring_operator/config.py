"""The operator's own settings: the environment read once, at the start, into one frozen object.

Every variable starts with `SCORING_OPERATOR_`. A misspelt name is an error and not a default, because an operator that
silently ignores a setting is found out in production.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

PREFIX = "SCORING_OPERATOR_"

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_SERVICE_LINK = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR))")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
"""Names and values that Kubernetes itself adds for a Service whose name starts with scoring-operator
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables)."""


class ConfigError(Exception):
    """A setting that cannot be used; the message is one line and names the variable."""


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


def _names(value: Any) -> Any:
    """`a, b` as a tuple of names."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


def _object(value: Any) -> Any:
    """A JSON object from its text; an empty text is an empty object."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
NameToRef = Annotated[dict[str, str], BeforeValidator(_object)]


class Settings(BaseModel):
    """What an administrator decides for all services; see docs/operator.md for the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = "default"
    """The operator's own namespace: its authority's Secret and its Lease live there."""
    watch_namespaces: Names = ()
    """The namespaces whose services are looked after; empty means all of them."""
    runtime_images: NameToRef = Field(default_factory=dict)
    """Framework → image that serves it, for versions that name no image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """The pull policy of the model pods' containers."""
    router_image: str = "envoyproxy/envoy:v1.40.0"
    """The image of Envoy (with bash) that splits the traffic of services with several versions."""
    ingress_domain: str = ""
    """With a domain, a service without `spec.ingress` is published at <name>-<namespace>.<domain>."""
    ingress_class: str = ""
    """The IngressClass of Ingresses whose service names none; empty leaves it to the cluster's default class."""
    ingress_tls: str = ""
    """TLS of Ingresses under `ingress_domain`: `selfSigned`, `issuer:NAME` (a ClusterIssuer), or empty for none."""
    ingress_namespaces: Names = ("traefik", "ingress-nginx")
    """The namespaces of the ingress controllers, which the NetworkPolicies of services let in."""
    workers: int = Field(default=16, ge=1, le=256)
    """How many services are worked on at the same time."""
    resync_seconds: float = Field(default=600, ge=10)
    """How often everything is listed anew and compared, in case a watch missed something."""
    request_timeout_seconds: float = Field(default=30, gt=0)
    """How long one call of the Kubernetes API may take."""
    health_host: str = "127.0.0.1"
    """The address of /healthz and /metrics; 0.0.0.0 inside a pod."""
    health_port: int = Field(default=8081, ge=0, le=65535)
    """The port of /healthz and /metrics; 0 serves neither."""
    leader_election: bool = False
    """Whether several replicas of the operator agree on one that works while the others stand by."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe lines to write."""
    log_format: LogFormat = LogFormat.JSON
    """How log lines are written."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("runtime_images")
    @classmethod
    def _no_empty_images(cls, value: dict[str, str]) -> dict[str, str]:
        empty = sorted(framework for framework, ref in value.items() if not ref.strip())
        if empty:
            raise ValueError(f"names no image for {', '.join(empty)}")
        return value

    @field_validator("ingress_tls")
    @classmethod
    def _known_tls(cls, value: str) -> str:
        if value in ("", "selfSigned") or (value.startswith("issuer:") and len(value) > len("issuer:")):
            return value
        raise ValueError("must be `selfSigned`, `issuer:NAME` or empty")

    @field_validator("ingress_domain")
    @classmethod
    def _plain_domain(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", value):
            raise ValueError("must be a domain in lower case without a dot at either end, such as models.example.com")
        return value

    @property
    def clusterwide(self) -> bool:
        """Whether services of every namespace are looked after."""
        return not self.watch_namespaces


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def read_settings(environ: Mapping[str, str], namespace_file: Path = SERVICE_ACCOUNT_NAMESPACE) -> Settings:
    """The settings that `environ` gives; inside a pod the namespace and the listening address have fitting defaults.

    Raises:
        ConfigError: a variable is unknown or its value cannot be used.
    """
    given = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
    values: dict[str, Any] = {}
    if namespace_file.is_file():
        values = {"namespace": namespace_file.read_text().strip(), "health_host": "0.0.0.0"}  # noqa: S104 - a pod
    for name, value in sorted(given.items()):
        field = name.lower()
        if field in Settings.model_fields and name == name.upper():
            values[field] = value
        elif not (_SERVICE_LINK.fullmatch(name) or _SERVICE_ADDRESS.fullmatch(value)):
            known = ", ".join(variable(known) for known in Settings.model_fields)
            raise ConfigError(f"{PREFIX}{name} is not a setting of the operator; the settings are {known}")
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{variable(str(first['loc'][0]))}: {message}") from None
