"""API keys: two files, either of which opens the door.

Keys are compared in constant time, and always both, so that the time of an answer tells nothing about them.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Collection
from pathlib import Path

from scoring_runtime.auth.bearer import credential, refused
from scoring_runtime.auth.files import WatchedFiles
from scoring_runtime.errors import SettingsInvalid

KEY_NAMES = ("primary", "secondary")
# Keys that were in force once are kept out of the logs too: clients may still send them.
_REMEMBERED = 32


class KeyFiles:
    """Accepts `Bearer KEY` where KEY is the content of the file primary or secondary.

    What is in the files is what counts, at most a second later: a key whose file is emptied or removed is refused from
    then on.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = [folder / name for name in KEY_NAMES]
        self._secrets: dict[str, None] = {}
        self._keys = WatchedFiles(self._files, self._read, clock)
        if not self._keys.value:
            raise SettingsInvalid(
                f"SCORING_AUTH=key and {folder} has no key in the files {' or '.join(KEY_NAMES)}; "
                "mount the keys there, or set SCORING_AUTH=none to let everybody score"
            )

    def check(self, authorization: str | None) -> None:
        """Compare the bearer's key with both keys. Raises Unauthorized."""
        secret = credential(authorization, "KEY").encode("latin-1", "replace")
        matches = [hmac.compare_digest(secret, key) for key in self._keys.get()]
        if not any(matches):
            raise refused("this is neither the primary nor the secondary key")

    def start(self) -> None:
        """Nothing is fetched."""

    def wait(self) -> None:
        """The keys were read at the start."""

    def secrets(self) -> Collection[str]:
        """Return the keys, those in force and the latest before them."""
        return tuple(self._secrets)

    def _read(self) -> tuple[bytes, ...]:
        contents = []
        for file in self._files:
            try:
                contents.append(file.read_bytes().strip())
            except OSError:
                continue
        keys = tuple(content for content in contents if content)
        remembered = {**self._secrets, **dict.fromkeys(key.decode("latin-1") for key in keys)}
        self._secrets = dict.fromkeys(list(remembered)[-_REMEMBERED:])
        return keys
