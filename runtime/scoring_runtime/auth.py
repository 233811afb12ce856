"""Who may score.

An authenticator has one method, `check`, that takes the Authorization header and raises Unauthorized. Keys are compared
in constant time, and always both, so that the time of an answer tells nothing about them.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from scoring_runtime.errors import SettingsInvalid, Unauthorized
from scoring_runtime.settings import Settings

KEY_NAMES = ("primary", "secondary")
RECHECK_SECONDS = 1.0
_logger = logging.getLogger(__name__)


class Authenticator(Protocol):
    """Decides on the Authorization header of one request."""

    def check(self, authorization: str | None) -> None:
        """Return when the request may go on; raise Unauthorized otherwise."""


class Everybody:
    """No authentication."""

    def check(self, authorization: str | None) -> None:
        """Allow it."""


class KeyFiles:
    """Accepts `Bearer KEY` where KEY is the content of the file primary or secondary.

    The files are looked at again at most once a second, when a request comes. Kubernetes replaces the files of a Secret
    all at once by moving a link, so a change shows as other file identities. What is there is what counts: a key whose
    file is emptied or removed is refused from then on.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = [folder / name for name in KEY_NAMES]
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._identities()
        self._keys = self._read()
        self._next_look = clock() + RECHECK_SECONDS
        if not self._keys:
            raise SettingsInvalid(
                f"SCORING_AUTH=key and {folder} has no key in the files {' or '.join(KEY_NAMES)}; "
                "mount the keys there, or set SCORING_AUTH=none to let everybody score"
            )

    def check(self, authorization: str | None) -> None:
        """Compare the bearer's key with both keys. Raises Unauthorized."""
        if not authorization:
            raise _unauthorized("this endpoint needs the header `Authorization: Bearer KEY`", "")
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("the Authorization header must be `Bearer KEY`", "")
        if self._clock() >= self._next_look:
            self._look_again()
        secret = given.strip().encode("latin-1", "replace")
        matches = [hmac.compare_digest(secret, key) for key in self._keys]
        if not any(matches):
            raise _unauthorized("this is neither the primary nor the secondary key", ', error="invalid_token"')

    def _look_again(self) -> None:
        with self._lock:
            if self._clock() < self._next_look:
                return
            self._next_look = self._clock() + RECHECK_SECONDS
            identities = self._identities()
            if identities == self._seen:
                return
            self._keys, self._seen = self._read(), identities
            _logger.info("the keys changed and were read again; %d in force", len(self._keys))

    def _identities(self) -> list[tuple[int, int, int, int] | None]:
        return [_identity(file) for file in self._files]

    def _read(self) -> tuple[bytes, ...]:
        contents = []
        for file in self._files:
            try:
                contents.append(file.read_bytes().strip())
            except OSError:
                continue
        return tuple(content for content in contents if content)


def authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator that the settings ask for. Raises SettingsInvalid when it cannot work."""
    if settings.auth == "none":
        return Everybody()
    if settings.auth == "key":
        return KeyFiles(settings.keys_dir)
    raise SettingsInvalid("SCORING_AUTH=token is not supported yet; use key or none")


def _identity(file: Path) -> tuple[int, int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _unauthorized(message: str, parameters: str) -> Unauthorized:
    return Unauthorized(message, [("WWW-Authenticate", f'Bearer realm="scoring"{parameters}')])
