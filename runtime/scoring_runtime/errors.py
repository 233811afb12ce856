# ruff: noqa: N818 (an error is named for what went wrong: the name is the reason or code that people see)
"""Every way a request or a start can fail.

Two small hierarchies. A `RequestError` ends one request: its class owns the HTTP status and the code a client sees, and
one function (`scoring_runtime.replies.error_reply`) turns it into a response. A `StartupError` ends the process: its
class owns the reason that the operator shows on the ScoringService and the exit status.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

EXIT_SETTINGS = 2
EXIT_MODEL = 3
EXIT_FETCH = 4


class RequestError(Exception):
    """One request cannot be answered as asked.

    `message` says what is wrong and what to do; it goes to the client, never to a log, since it may quote the input.
    `headers` are added to the response.
    """

    status = 500
    code = "InternalError"

    def __init__(self, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.headers = tuple(headers)


class InputInvalid(RequestError):
    """The request does not say what to score: not JSON, no data, ragged rows, wrong columns."""

    status, code = 400, "InvalidInput"


class InputRejected(RequestError):
    """The request is well formed, and the model itself refused it (a text where it wants a number)."""

    status, code = 400, "RejectedByModel"


class RequestInvalid(RequestError):
    """The HTTP request itself is broken: a body that is not what its headers say, an unusable request id."""

    status, code = 400, "InvalidRequest"


class Unauthorized(RequestError):
    """No credential, or one that is not accepted. Always sent with `WWW-Authenticate` (RFC 9110, 11.6.1)."""

    status, code = 401, "Unauthorized"


class Forbidden(RequestError):
    """The credential is genuine, and its bearer is none of those who may score."""

    status, code = 403, "Forbidden"


class NotFound(RequestError):
    """No such path."""

    status, code = 404, "NotFound"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not. Always sent with `Allow` (RFC 9110, 15.5.6)."""

    status, code = 405, "MethodNotAllowed"


class BodyTooSlow(RequestError):
    """The client did not send its body in time."""

    status, code = 408, "BodyTooSlow"


class BodyTooLarge(RequestError):
    """The body, or what it decompresses to, is over the limit."""

    status, code = 413, "BodyTooLarge"


class UnsupportedMediaType(RequestError):
    """A content type or content encoding that no decoder here reads."""

    status, code = 415, "UnsupportedMediaType"


class RequestIdTooLong(RequestError):
    """A request id of more than 100 characters (Azure's limit)."""

    status, code = 431, "RequestIdTooLong"


class ModelFailed(RequestError):
    """The model raised something that does not look like the client's fault, or answered nonsense."""

    status, code = 500, "ModelFailed"


class NotReady(RequestError):
    """The model is still being loaded."""

    status, code = 503, "NotReady"


class Overloaded(RequestError):
    """No slot became free in time."""

    status, code = 503, "Overloaded"


class TimedOut(RequestError):
    """The answer was not there within the time limit."""

    status, code = 504, "TimedOut"


def not_loaded() -> NotReady:
    """Return the error for what comes before the model is there."""
    return NotReady("the model is still being loaded; try again shortly", [("Retry-After", "1")])


def unexpected(error: Exception, what: str, logger: logging.Logger) -> RequestError:
    """Log an error of our own, raised while answering `what`, and return what a client sees, which tells nothing."""
    logger.error("answering %s raised %s", what, type(error).__name__, exc_info=error)
    return RequestError("an unexpected error; the server's log says where")


class StartupError(Exception):
    """The process cannot do its work and ends.

    `reason` and `message` become the container's termination message, and through the operator the conditions of the
    ScoringService: one sentence with the root cause and the remedy.
    """

    reason = "ModelLoadFailed"
    exit_code = EXIT_MODEL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SettingsInvalid(StartupError):
    """A setting is unknown, missing or out of range."""

    reason, exit_code = "SettingsInvalid", EXIT_SETTINGS


class ModelNotFound(StartupError):
    """There is nothing at the model's address, or no model file in the folder."""

    reason = "ModelNotFound"


class ModelInvalid(StartupError):
    """What was found is not a model of this framework."""

    reason = "ModelInvalid"


class FrameworkMissing(StartupError):
    """The model needs a Python package that this image does not have."""

    reason = "FrameworkMissing"


class ModelIncompatible(StartupError):
    """The model was saved by a version that the installed libraries cannot read."""

    reason = "ModelIncompatible"


class ModelTooLarge(StartupError):
    """The model does not fit the memory or the disk."""

    reason = "ModelTooLarge"


class ModelLoadFailed(StartupError):
    """Loading failed in a way that has no name of its own."""

    reason = "ModelLoadFailed"


class SampleFailed(StartupError):
    """The sample request that lies beside the model could not be scored."""

    reason = "SampleFailed"


class ModelAccessDenied(StartupError):
    """The model's source refused the credentials, or wants some."""

    reason = "ModelAccessDenied"


class ModelSourceUnavailable(StartupError):
    """The model's source does not answer, or answers with an error of its own."""

    reason = "ModelSourceUnavailable"


class ModelChecksumMismatch(StartupError):
    """The bytes are not those whose sha256 was given."""

    reason = "ModelChecksumMismatch"


class ArchiveUnsafe(StartupError):
    """An archive, or a folder, holds something that could reach outside the model folder or fill the disk."""

    reason = "ArchiveUnsafe"
