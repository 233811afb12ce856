"""The parsed ScoringService: frozen values with every default filled in and every version complete.

The defaults here are part of the API version v1alpha1 and never change within it: a pod template is a function of the
version's own spec, so a new default would restart every model on an operator upgrade.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

GROUP = "scoring.dev"
API_VERSION = "scoring.dev/v1alpha1"
KIND = "ScoringService"
PLURAL = "scoringservices"

DEFAULT_VERSION_NAME = "default"
"""The name of the one version that `spec.model` stands for."""


SCRIPT = "script"
"""The framework of models that a Python file of the user loads and calls."""
DEFAULT_ENTRY_SCRIPT = "score.py"


class Auth(StrEnum):
    """Who may call the service: holders of one of its keys, of a token, or everybody."""

    KEY = "Key"
    TOKEN = "Token"  # noqa: S105 - the name of a scheme
    NONE = "None"


@dataclass(frozen=True)
class Token:
    """Which tokens open a service whose auth is Token."""

    audience: str
    """Whom a token must be made for."""
    issuer: str | None = None
    """Who signs; None: the cluster that the service runs in."""
    jwks_uri: str | None = None
    """Where the issuer's signing keys are; set if and only if `issuer` is."""
    subjects: tuple[str, ...] = ()
    """Who may call; empty: everybody whose token is good."""


@dataclass(frozen=True)
class Model:
    """Where a model is and how it is loaded."""

    uri: str
    framework: str
    sha256: str | None = None
    """Lower-case hex digest that the fetched file or archive must have."""
    entry_script: str | None = None
    """The Python file inside the model's folder; set if and only if the framework is `script`."""
    credentials_secret: str | None = None
    """A Secret of the service's namespace whose entries become the fetch container's environment."""

    @property
    def scheme(self) -> str:
        """The URI's scheme, such as `s3`."""
        return self.uri.partition(":")[0]

    @property
    def claim(self) -> str | None:
        """The PersistentVolumeClaim that a `pvc://claim/path` URI names, else None."""
        return self.uri.removeprefix("pvc://").partition("/")[0] if self.scheme == "pvc" else None


@dataclass(frozen=True)
class Resources:
    """Compute resources of a pod's containers: resource name → canonical quantity, without the GPUs of `gpu`."""

    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RequestSettings:
    """How one pod treats requests."""

    timeout_seconds: int = 60
    max_concurrent: int = 8
    """Requests that are scored at the same time; the others wait."""
    max_queue_wait_milliseconds: int = 500
    """A request that has waited longer is answered 503."""
    max_body_bytes: int = 10 * 1024 * 1024


@dataclass(frozen=True)
class Batching:
    """How waiting requests are put together into one call of the model."""

    max_size: int = 32
    max_delay_milliseconds: int = 0
    """How long a batch waits for company; 0 takes what is there."""


UTILIZATION = "Utilization"
"""The metric that the operator itself reads and scales by."""


@dataclass(frozen=True)
class Keda:
    """What a version's ScaledObject says besides its target and its bounds; None and empty leave it to KEDA."""

    triggers: tuple[Mapping[str, Any], ...]
    """Word for word, as all objects here."""
    polling_interval: int | None = None
    """Seconds."""
    cooldown_period: int | None = None
    """Seconds."""
    initial_cooldown_period: int | None = None
    """Seconds."""
    idle_replica_count: int | None = None
    fallback: Mapping[str, Any] = field(default_factory=dict)
    advanced: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Autoscaling:
    """Bounds and target of a version's autoscaler."""

    min_replicas: int = 1
    max_replicas: int = 10
    metric: str = UTILIZATION
    target: int = 70
    """Percent of the slots (Utilization) or of the CPU request (CPU) in use."""
    idle_seconds: int = 300
    """With min_replicas 0: after so long without a request the last pod goes."""
    hold_seconds: int = 60
    """With min_replicas 0: how long a request that finds no pod waits for one."""
    keda: Keda | None = None
    """Set if KEDA scales, by its own triggers."""

    @property
    def sleeps(self) -> bool:
        """Whether the last pod may go."""
        idle = None if self.keda is None else self.keda.idle_replica_count
        return (self.min_replicas if idle is None else idle) == 0


@dataclass(frozen=True)
class DataCollection:
    """Where a sample of requests and answers is written."""

    uri: str
    format: str = "jsonl"
    """jsonl (JSON Lines) or parquet."""
    sampling_percent: int = 100
    credentials_secret: str | None = None
    """A Secret of the service's namespace with AWS' variables as entries; mounted as files."""


@dataclass(frozen=True)
class Pod:
    """What a user may say about the pods of a version; values are Kubernetes' own shapes, without nulls."""

    service_account_name: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    topology_spread_constraints: tuple[Mapping[str, Any], ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    env: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    priority_class_name: str | None = None
    runtime_class_name: str | None = None


@dataclass(frozen=True)
class Version:
    """One model behind a service, with the service's version-level fields merged in."""

    name: str
    model: Model
    replicas: int | None = 1
    """Wanted pods; None when an autoscaler owns the number."""
    replicas_written: bool = True
    """Whether the user wrote the number; otherwise it is what an autoscaler left, or 1."""
    autoscaling: Autoscaling | None = None
    resources: Resources = field(default_factory=Resources)
    gpu: int = 0
    """Whole GPUs for each pod."""
    request_settings: RequestSettings = field(default_factory=RequestSettings)
    batching: Batching = field(default_factory=Batching)
    data_collection: DataCollection | None = None
    accelerate: str | None = None
    """What the runtime is to make of the model and use if that gives the same answers: onnx or compile."""
    pod: Pod = field(default_factory=Pod)
    image: str | None = None
    """The runtime image the user chose; None takes the one recorded for or configured in the operator."""
    default: bool = True
    control: bool = False
    traffic: int | None = None
    """Wanted share in percent; None gets what the others leave if it is the default version, else nothing."""
    mirror: int | None = None
    """Percent of the requests that are copied to this version, answers thrown away."""
    spec_hash: str = ""
    """Changes if and only if the user changed something that this version's pods are made of."""

    @property
    def sleeps(self) -> bool:
        """Whether its last pod may go, so that requests wait for one in the router."""
        return self.autoscaling is not None and self.autoscaling.sleeps

    @property
    def polled(self) -> bool:
        """Whether the operator asks its pods for their load."""
        scaled = self.autoscaling
        return scaled is not None and scaled.metric == UTILIZATION and scaled.keda is None


@dataclass(frozen=True)
class Tls:
    """How a host gets its certificate; exactly one of the three is set."""

    secret_name: str | None = None
    """A Secret the user keeps."""
    issuer: str | None = None
    """A cert-manager issuer, of kind `issuer_kind`."""
    issuer_kind: str = "ClusterIssuer"
    self_signed: bool = False
    """The operator's own authority issues the certificate."""


@dataclass(frozen=True)
class Ingress:
    """How the service is reached from outside the cluster."""

    class_name: str | None = None
    host: str | None = None
    path: str = "/"
    annotations: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None


@dataclass(frozen=True)
class GatewayParent:
    """A Gateway that publishes the service."""

    name: str
    namespace: str | None = None
    """None: the service's own."""
    section: str | None = None
    """The listener; None: all of them."""


@dataclass(frozen=True)
class Gateway:
    """How the service is reached through the Gateway API, instead of an Ingress."""

    parents: tuple[GatewayParent, ...]
    redirect_from: tuple[GatewayParent, ...] = ()
    """Listeners whose callers are sent on to HTTPS."""
    path: str = "/"
    hostnames: tuple[str, ...] = ()
    """Empty: those of the Gateways."""


@dataclass(frozen=True)
class NetworkPolicy:
    """Who besides the ingress controller and the namespace itself may connect to the pods."""

    allow_from: tuple[Mapping[str, Any], ...] = ()
    """NetworkPolicyPeer objects."""


class RolloutAction(StrEnum):
    """What a user wants of a rollout: to go on by itself, to wait, to end at once with the old or the new version."""

    RUN = "Run"
    PAUSE = "Pause"
    ABORT = "Abort"
    PROMOTE = "Promote"


@dataclass(frozen=True)
class Analysis:
    """How a new version is judged; where a limit is None, against the old version."""

    max_error_percent: float | None = None
    max_p99_milliseconds: int | None = None
    min_requests: int = 50
    """Requests that a step needs before anything is concluded from them."""


@dataclass(frozen=True)
class Rollout:
    """How a new default version gets its traffic."""

    steps: tuple[int, ...] = (5, 25, 50, 100)
    """Percent of what the default version is to get; ascending, the last one is 100."""
    interval_seconds: int = 60
    """The shortest time at a step."""
    deadline_seconds: int = 3600
    """The longest time at a step: a version that cannot be judged by then is rolled back."""
    analysis: Analysis = field(default_factory=Analysis)
    action: RolloutAction = RolloutAction.RUN
    version: str | None = None
    """The version whose rollout the action is about; None: any."""

    def asked(self, version: str) -> RolloutAction:
        """What the user wants of the rollout of `version`."""
        return self.action if self.version in (None, version) else RolloutAction.RUN


@dataclass(frozen=True)
class ScoringService:
    """A whole service: the desired state as its user wrote it."""

    name: str
    namespace: str
    uid: str
    generation: int
    versions: tuple[Version, ...]
    auth: Auth = Auth.KEY
    token: Token | None = None
    """Set if and only if `auth` is Token."""
    grpc: bool = False
    """Whether gRPC is served beside HTTP."""
    ingress: Ingress | None = None
    """What spec.ingress says; None leaves it to the operator's ingress settings (see desired.published_ingress)."""
    gateway: Gateway | None = None
    """What spec.gateway says; then there is no Ingress, and no router: the Gateway splits and mirrors."""
    network_policy: NetworkPolicy | None = None
    sticky_header: str | None = None
    """Requests with the same value of this header go to the same version; None: each is drawn by chance."""
    rollout: Rollout | None = None
    """None: a new default version has everything as soon as it is ready."""

    @property
    def path_prefix(self) -> str:
        """The path in front of all others as the runtime wants it: empty, or without a slash at the end, as `/faq`."""
        way_in = self.gateway or self.ingress
        return way_in.path.rstrip("/") if way_in else ""

    @property
    def trusts_the_cluster(self) -> bool:
        """Whether the service takes tokens that the cluster itself signed."""
        return self.token is not None and self.token.issuer is None

    @property
    def needs_router(self) -> bool:
        """Whether the operator's router splits requests, or keeps those that find no pod, and no Gateway splits."""
        return (len(self.versions) > 1 or self.sleeps) and self.gateway is None

    @property
    def sleeps(self) -> bool:
        """Whether a version's last pod may go."""
        return any(version.sleeps for version in self.versions)

    @property
    def default_version(self) -> Version:
        """The version that gets all traffic nobody else is given."""
        return next(version for version in self.versions if version.default)
