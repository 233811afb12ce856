"""The two keys of a service: either opens it, and each can be replaced alone without locking anybody out."""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PRIMARY = "primary"
SECONDARY = "secondary"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Keys:
    """A service's keys; their values never appear in its `repr`, so they cannot slip into a log."""

    primary: str = field(repr=False)
    secondary: str = field(repr=False)


def new_key() -> str:
    """A fresh key: 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(_KEY_BYTES)


def complete_keys(data: Mapping[str, str] | None, make: Callable[[], str] = new_key) -> Keys:
    """The keys to keep: those of the Secret's `data` (base64, as the API returns it), and new ones where it has none.

    A value that is not base64 text, or blank, counts as missing: deleting an entry is the way to have a key replaced.
    """
    found = data or {}
    return Keys(
        primary=_decoded(found.get(PRIMARY)) or make(),
        secondary=_decoded(found.get(SECONDARY)) or make(),
    )


def _decoded(value: str | None) -> str:
    if not value:
        return ""
    try:
        key = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return key if key.strip() else ""
