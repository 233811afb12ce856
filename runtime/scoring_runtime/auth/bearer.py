"""The Bearer scheme of the Authorization header (RFC 6750), for keys and tokens alike."""

from __future__ import annotations

from scoring_runtime.errors import Forbidden, Unauthorized

_CHALLENGE = 'Bearer realm="scoring"'


def credential(authorization: str | None, kind: str) -> str:
    """Return what follows `Bearer`; `kind`, KEY or TOKEN, is for the message. Raises Unauthorized."""
    if not authorization:
        raise _missing(f"this endpoint needs the header `Authorization: Bearer {kind}`")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _missing(f"the Authorization header must be `Bearer {kind}`")
    return given.strip()


def refused(message: str) -> Unauthorized:
    """Return the error for a credential that is not accepted (RFC 6750, 3.1). `message` has no double quote."""
    described = f'{_CHALLENGE}, error="invalid_token", error_description="{message}"'
    return Unauthorized(message, [("WWW-Authenticate", described)])


def forbidden(message: str) -> Forbidden:
    """Return the error for a bearer who is known and may not do this. `message` has no double quote."""
    described = f'{_CHALLENGE}, error="insufficient_scope", error_description="{message}"'
    return Forbidden(message, [("WWW-Authenticate", described)])


def _missing(message: str) -> Unauthorized:
    # Without an error code: the client has not tried yet (RFC 6750, 3.1).
    return Unauthorized(message, [("WWW-Authenticate", _CHALLENGE)])
