"""Where an issuer's keys come from: a file, or an address that is asked again and again in the background.

A request never waits for the network, with one exception: a token of a key that nobody knows yet may be the first one
after the issuer changed its keys, so a few such requests wait a short time for a fresh set.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from scoring_runtime.auth.files import WatchedFiles
from scoring_runtime.auth.jwks import ALGORITHMS, MAX_BYTES, KeyRing, read_key_set
from scoring_runtime.errors import NotReady, SettingsInvalid

REFRESH_SECONDS = 300.0
# A set is not asked for again within this time because of tokens of unknown keys, which anybody can send.
UNKNOWN_KEY_SECONDS = 10.0
# How long, and how many, requests with a token of an unknown key wait for a fresh set.
_WAIT_SECONDS = 3.0
_MAX_WAITING = 16
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_logger = logging.getLogger(__name__)


class KeySource(Protocol):
    """Holds the keys that are in force."""

    def ring(self) -> KeyRing:
        """Return the keys. Raises NotReady when there are none yet."""

    def newest(self) -> KeyRing:
        """Return the keys after looking for new ones, as far as that is allowed now."""

    def start(self) -> None:
        """Begin to fetch in the background."""

    def wait(self) -> None:
        """Return when there are keys."""


class FileKeys:
    """A key set in a file. Raises SettingsInvalid when it has no usable key at the start."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        try:
            self._watched = WatchedFiles([path], self._read, clock)
        except ValueError as error:
            raise SettingsInvalid(f"SCORING_TOKEN_JWKS={str(path)!r}: {error}") from None
        if not len(self._watched.value):
            raise SettingsInvalid(
                f"SCORING_TOKEN_JWKS={str(path)!r}: it has no key that can be used; needed is a public key for "
                f"one of {', '.join(ALGORITHMS)}"
            )

    def ring(self) -> KeyRing:
        """See `KeySource.ring`."""
        return self._watched.get()

    def newest(self) -> KeyRing:
        """See `KeySource.newest`. A look at a file costs little."""
        return self._watched.look()

    def start(self) -> None:
        """Nothing is fetched."""

    def wait(self) -> None:
        """The file was read at the start."""

    def _read(self) -> KeyRing:
        try:
            with self._path.open("rb") as file:
                return read_key_set(file.read(MAX_BYTES + 1))
        except OSError as error:
            raise ValueError(f"it cannot be read: {error.strerror}") from None


class FetchedKeys:
    """A key set that `fetch` gets from its issuer, over and over, in a thread of its own.

    An issuer that does not answer, or answers nonsense, changes nothing: the keys that are known stay in force. `fetch`
    raises OSError or ValueError with a sentence. Times in seconds.
    """

    def __init__(
        self, fetch: Callable[[], bytes], refresh: float = REFRESH_SECONDS, unknown_key: float = UNKNOWN_KEY_SECONDS
    ) -> None:
        self._fetch = fetch
        self._refresh = refresh
        self._unknown_key = unknown_key
        self._changed = threading.Condition()
        self._ring: KeyRing | None = None
        self._document = b""
        self._fetching = False
        self._wanted = False
        self._finished = 0
        self._waiting = 0
        self._failures = 0
        self._last = float("-inf")
        self._stopped = False

    def ring(self) -> KeyRing:
        """See `KeySource.ring`."""
        ring = self._ring
        if ring is None:
            raise NotReady("the keys of the tokens' issuer could not be fetched yet; try again", [("Retry-After", "1")])
        return ring

    def newest(self) -> KeyRing:
        """See `KeySource.newest`. Waits for a fetch, at most three seconds, if one is allowed or in progress."""
        with self._changed:
            if not self._fetching and time.monotonic() - self._last < self._unknown_key:
                return self.ring()
            self._wanted = True
            self._changed.notify_all()
            if self._waiting < _MAX_WAITING:
                before = self._finished
                self._waiting += 1
                self._changed.wait_for(lambda: self._finished > before, _WAIT_SECONDS)
                self._waiting -= 1
        return self.ring()

    def start(self) -> None:
        """See `KeySource.start`."""
        threading.Thread(target=self._run, name="token-keys", daemon=True).start()

    def wait(self) -> None:
        """See `KeySource.wait`."""
        with self._changed:
            self._changed.wait_for(lambda: self._ring is not None)

    def stop(self) -> None:
        """Ask no more; the keys that are known stay in force."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopped:
            with self._changed:
                self._wanted, self._fetching = False, True
            ring = self._attempt()
            with self._changed:
                if ring is not None:
                    self._ring = ring
                self._fetching = False
                self._finished += 1
                self._last = time.monotonic()
                self._changed.notify_all()
                self._changed.wait_for(self._is_asked_for, self._pause())

    def _is_asked_for(self) -> bool:
        # What was wanted during a fetch has been answered by it.
        return self._stopped or (self._wanted and time.monotonic() - self._last >= self._unknown_key)

    def _pause(self) -> float:
        self._wanted = False
        if not self._failures:
            return self._refresh
        return min(_FIRST_PAUSE * 2.0 ** (self._failures - 1), _LONGEST_PAUSE, self._refresh)

    def _attempt(self) -> KeyRing | None:
        """Return the issuer's keys, or None when they are what they were or cannot be had."""
        try:
            document = self._fetch()
            if document == self._document:
                self._failures = 0
                return None
            ring = read_key_set(document)
            if not len(ring):
                raise ValueError("it has no key that can be used")
        except Exception as error:
            self._failures += 1
            known = "the known keys stay in force" if self._ring is not None else "no token can be verified before"
            said = str(error) if isinstance(error, (OSError, ValueError)) else type(error).__name__
            _logger.warning("cannot fetch the keys of the tokens' issuer, trying again; %s: %s", known, said)
            return None
        _logger.info("fetched the keys of the tokens' issuer; %d in force", len(ring))
        self._document, self._failures = document, 0
        return ring
