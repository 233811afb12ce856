"""The shape of a raw ScoringService, field by field, with the same bounds as the CRD's schema.

All fields are optional here: what is missing is inherited (a version from the service) or has a default that
`objects` states. Which fields go together is the business of `rules`. Unknown fields are ignored, as a newer CRD may
have more of them; the API server itself refuses misspelt ones.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _number_as_text(value: Any) -> Any:
    """A whole number as its text: `cpu: 2` and `cpu: "2"` are the same quantity."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, Field(min_length=1, max_length=253)]
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
Quantity = Annotated[str, Field(max_length=32), BeforeValidator(_number_as_text)]
Labels = Annotated[dict[str, str], Field(max_length=64)]
Percent = Annotated[int, Field(ge=0, le=100)]
Replicas = Annotated[int, Field(ge=0, le=1000)]
Object = dict[str, Any]


class Wire(BaseModel):
    """A part of the raw object; Python names here, camelCase there."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel)


class Credentials(Wire):
    """Access to a URI."""

    secret_name: Text


class Model(Wire):
    """spec.model and spec.versions[].model."""

    uri: Uri
    framework: Annotated[str, Field(min_length=1, max_length=32)]
    sha256: Annotated[str, Field(max_length=64)] | None = None
    entry_script: Text | None = None
    credentials: Credentials | None = None


class KedaTrigger(Wire):
    """One of KEDA's triggers, which has more fields than are read here."""

    model_config = ConfigDict(extra="allow")

    type: Text


class Keda(Wire):
    """What a ScaledObject says, without its target and its bounds."""

    triggers: Annotated[list[KedaTrigger], Field(min_length=1, max_length=32)]
    polling_interval: Annotated[int, Field(ge=1, le=86_400)] | None = None
    cooldown_period: Annotated[int, Field(ge=0, le=604_800)] | None = None
    initial_cooldown_period: Annotated[int, Field(ge=0, le=604_800)] | None = None
    idle_replica_count: Replicas | None = None
    fallback: Object | None = None
    advanced: Object | None = None


class Autoscaling(Wire):
    """Bounds and target of the autoscaler."""

    min_replicas: Replicas | None = None
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    metric: Literal["Utilization", "CPU"] | None = None
    target: Annotated[int, Field(ge=1, le=100)] | None = None
    idle_seconds: Annotated[int, Field(ge=10, le=604_800)] | None = None
    hold_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    keda: Keda | None = None


class Resources(Wire):
    """Requests and limits."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None


class RequestSettings(Wire):
    """How one pod treats requests."""

    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=1024)] | None = None
    max_queue_wait_milliseconds: Annotated[int, Field(ge=0, le=600_000)] | None = None
    max_body_bytes: Annotated[int, Field(ge=1, le=1024**3)] | None = None


class Batching(Wire):
    """How requests are batched."""

    max_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    max_delay_milliseconds: Annotated[int, Field(ge=0, le=60_000)] | None = None


class DataCollection(Wire):
    """Where samples of the traffic go."""

    uri: Uri
    format: Literal["jsonl", "parquet"] | None = None
    sampling_percent: Percent | None = None
    credentials: Credentials | None = None


class EntryRef(Wire):
    """One entry of a Secret or ConfigMap."""

    name: Text
    key: Text
    optional: bool | None = None


class FieldRef(Wire):
    """A field of the pod."""

    field_path: Text


class ValueFrom(Wire):
    """Where the value of a variable comes from."""

    secret_key_ref: EntryRef | None = None
    config_map_key_ref: EntryRef | None = None
    field_ref: FieldRef | None = None


class Env(Wire):
    """One environment variable."""

    name: Text
    value: Annotated[str, Field(max_length=32_768)] | None = None
    value_from: ValueFrom | None = None


class PullSecret(Wire):
    """A reference to a Secret with an image registry's credentials."""

    name: Text


class Toleration(Wire):
    """A taint that the pods bear."""

    key: Annotated[str, Field(max_length=317)] | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Pod(Wire):
    """What a user may say about pods."""

    service_account_name: Text | None = None
    node_selector: Labels | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
    affinity: Object | None = None
    topology_spread_constraints: Annotated[list[Object], Field(max_length=8)] | None = None
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=16)] | None = None
    env: Annotated[list[Env], Field(max_length=64)] | None = None
    labels: Labels | None = None
    annotations: Labels | None = None
    priority_class_name: Text | None = None
    runtime_class_name: Text | None = None


class VersionFields(Wire):
    """What the service says for all of its versions and each version may say for itself."""

    replicas: Replicas | None = None
    autoscaling: Autoscaling | None = None
    resources: Resources | None = None
    gpu: Annotated[int, Field(ge=0, le=64)] | None = None
    request_settings: RequestSettings | None = None
    batching: Batching | None = None
    data_collection: DataCollection | None = None
    accelerate: Literal["none", "onnx", "compile"] | None = None
    pod: Pod | None = None
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class Version(VersionFields):
    """One of spec.versions."""

    name: Annotated[str, Field(min_length=1, max_length=15)]
    model: Model
    default: bool | None = None
    control: bool | None = None
    traffic: Percent | None = None
    mirror: Percent | None = None


class Tls(Wire):
    """Where the certificate of the host comes from."""

    secret_name: Text | None = None
    issuer: Text | None = None
    issuer_kind: Literal["ClusterIssuer", "Issuer"] | None = None
    self_signed: bool | None = None


class Ingress(Wire):
    """How the service is reached from outside."""

    class_name: Text | None = None
    host: Text | None = None
    path: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    annotations: Labels | None = None
    tls: Tls | None = None


class GatewayParent(Wire):
    """A Gateway to attach to."""

    name: Text
    namespace: Text | None = None
    section_name: Text | None = None


class GatewayListener(Wire):
    """One listener of a Gateway."""

    name: Text
    namespace: Text | None = None
    section_name: Text


class Gateway(Wire):
    """The Gateway API's way in."""

    parent_refs: Annotated[list[GatewayParent], Field(min_length=1, max_length=8)]
    redirect_from: Annotated[list[GatewayListener], Field(min_length=1, max_length=8)] | None = None
    path: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    hostnames: Annotated[list[Text], Field(max_length=16)] | None = None


class Token(Wire):
    """Which tokens are good."""

    issuer: Uri | None = None
    audience: Text | None = None
    jwks_uri: Uri | None = None
    subjects: Annotated[list[Text], Field(min_length=1, max_length=64)] | None = None


class AuthSettings(Wire):
    """Who may call."""

    type: Literal["Key", "Token", "None"] | None = None
    token: Token | None = None


class Grpc(Wire):
    """Whether gRPC is served beside HTTP."""

    enabled: bool | None = None


class Sticky(Wire):
    """By what callers are kept with one version."""

    header: Annotated[str, Field(min_length=1, max_length=64)]


class Selector(Wire):
    """Labels that pick namespaces or pods."""

    match_labels: Labels | None = None


class Peer(Wire):
    """Pods that may connect."""

    namespace_selector: Selector | None = None
    pod_selector: Selector | None = None


class NetworkPolicy(Wire):
    """Whether and for whom the pods are closed."""

    enabled: bool | None = None
    allow_from: Annotated[list[Peer], Field(max_length=16)] | None = None


class Analysis(Wire):
    """How a new version is judged."""

    max_error_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    max_p99_milliseconds: Annotated[int, Field(ge=1, le=3_600_000)] | None = None
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Rollout(Wire):
    """How a new default version gets its traffic."""

    steps: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1, max_length=20)] | None = None
    interval_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    deadline_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    analysis: Analysis | None = None
    action: Literal["Run", "Pause", "Abort", "Promote"] | None = None
    version: Annotated[str, Field(min_length=1, max_length=15)] | None = None


class Spec(VersionFields):
    """ScoringService.spec."""

    model: Model | None = None
    versions: Annotated[list[Version], Field(min_length=1, max_length=20)] | None = None
    ingress: Ingress | None = None
    gateway: Gateway | None = None
    auth: AuthSettings | None = None
    grpc: Grpc | None = None
    sticky: Sticky | None = None
    network_policy: NetworkPolicy | None = None
    rollout: Rollout | None = None


class Metadata(Wire):
    """What is read of the metadata; `uid` is missing only before the API server has seen the object."""

    name: Annotated[str, Field(min_length=1)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0


class Service(Wire):
    """A whole raw ScoringService."""

    metadata: Metadata
    spec: Spec
