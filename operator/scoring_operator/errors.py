"""What can go wrong, as types: each error carries the reason a condition shows and says whether to try again.

A message says what is wrong, where, and what to do about it; it is shown to users word for word (in the `Stalled` or
`Ready` condition, in an event and in the MESSAGE column), so it never holds a secret or the payload of a model.
"""

from enum import StrEnum
from typing import ClassVar, Literal

Retry = Literal["never", "backoff"]
"""`never`: only an edit of an object can help, so the next event retries. `backoff`: it may pass by itself."""


class Reason(StrEnum):
    """Every reason the operator writes into a condition; docs/troubleshooting.md has a line for each."""

    # The spec and the objects around it.
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    CHILD_REJECTED = "ChildRejected"
    FORBIDDEN = "Forbidden"
    API_UNAVAILABLE = "ApiUnavailable"
    IMAGE_UNKNOWN = "ImageUnknown"
    INGRESS_CLASS_NOT_FOUND = "IngressClassNotFound"
    GATEWAY_API_NOT_FOUND = "GatewayAPINotFound"
    GATEWAY_PENDING = "GatewayPending"
    GATEWAY_REFUSED = "GatewayRefused"
    KEDA_NOT_FOUND = "KedaNotFound"
    TLS_SECRET_NOT_FOUND = "TLSSecretNotFound"  # noqa: S105 - a condition's reason
    ISSUER_UNKNOWN = "IssuerUnknown"
    INTERNAL_ERROR = "InternalError"

    # The way of a service that is well.
    DEPLOYING = "Deploying"
    AVAILABLE = "Available"
    SCALED_TO_ZERO = "ScaledToZero"
    ROLLOUT_PROGRESSING = "RolloutProgressing"
    ROLLOUT_PAUSED = "RolloutPaused"
    ROLLED_BACK = "RolledBack"
    INGRESS_NOT_WANTED = "IngressNotWanted"
    INGRESS_ADMITTED = "IngressAdmitted"
    CERTIFICATE_PENDING = "CertificatePending"

    # Pods, as Kubernetes reports them.
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONFIG_ERROR = "ConfigError"
    CRASH_LOOP = "CrashLoop"
    PROBE_FAILING = "ProbeFailing"
    POD_REJECTED = "PodRejected"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"

    # Pods, as the runtime reports them in its termination message.
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    MODEL_SOURCE_UNAVAILABLE = "ModelSourceUnavailable"
    MODEL_CHECKSUM_MISMATCH = "ModelChecksumMismatch"
    ARCHIVE_UNSAFE = "ArchiveUnsafe"
    MODEL_INVALID = "ModelInvalid"
    FRAMEWORK_MISSING = "FrameworkMissing"
    MODEL_INCOMPATIBLE = "ModelIncompatible"
    MODEL_TOO_LARGE = "ModelTooLarge"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    SAMPLE_FAILED = "SampleFailed"
    SETTINGS_INVALID = "SettingsInvalid"


class OperatorError(Exception):
    """Something that keeps a service from its desired state; `str()` is the message."""

    reason: ClassVar[Reason] = Reason.INTERNAL_ERROR
    retry: ClassVar[Retry] = "backoff"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SpecError(OperatorError):
    """The spec cannot be carried out as written; the message names the fields and what to write instead."""

    reason = Reason.INVALID_SPEC
    retry = "never"


class NameConflict(OperatorError):  # noqa: N818 - named after its reason
    """An object of a child's name exists and belongs to somebody else; the operator never takes it over."""

    reason = Reason.NAME_CONFLICT
    retry = "backoff"

    def __init__(self, kind: str, namespace: str, name: str) -> None:
        super().__init__(
            f"{kind} {namespace}/{name} exists and is not this service's: "
            f"delete or rename it, or give the ScoringService another name"
        )


class IssuerUnknown(OperatorError):  # noqa: N818 - named after its reason
    """The cluster does not tell who signs its tokens, and a service is to accept them."""

    reason = Reason.ISSUER_UNKNOWN
    retry = "backoff"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the Kubernetes API does not say how the cluster's tokens are verified ({problem}): "
            f"write spec.auth.token.issuer and jwksUri"
        )


class ImageUnknown(OperatorError):  # noqa: N818 - named after its reason
    """No runtime image is configured for a framework."""

    reason = Reason.IMAGE_UNKNOWN
    retry = "never"

    def __init__(self, version: str, framework: str) -> None:
        super().__init__(
            f"version {version}: the operator has no runtime image for framework {framework}: "
            f"set the version's `image`, or add it to SCORING_OPERATOR_RUNTIME_IMAGES of the operator"
        )


class RouterImageUnknown(OperatorError):  # noqa: N818 - as ImageUnknown
    """A service needs a router, and the operator has no image for one."""

    reason = Reason.IMAGE_UNKNOWN
    retry = "never"

    def __init__(self) -> None:
        super().__init__(
            "several versions need a router, and the operator has no image for it: "
            "set SCORING_OPERATOR_ROUTER_IMAGE of the operator, or write one version"
        )
