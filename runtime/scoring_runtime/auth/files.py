"""Files of a Secret or a ConfigMap, read again when they change.

Kubernetes replaces the files of a mounted Secret all at once: it writes a new folder, moves a link to it and removes
the old folder. A change shows as other file identities. Who reads in the middle of one may find some files of the old
folder and some of the new one, or none at all for an instant, so a reading counts only when nothing moved during it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

RECHECK_SECONDS = 1.0
_ATTEMPTS = 5
_logger = logging.getLogger(__name__)

T = TypeVar("T")


class WatchedFiles(Generic[T]):
    """What `read` made of `files`; looked at again at most once a second, when somebody asks.

    A `read` that raises ValueError leaves the value as it was. The first reading raises it.
    """

    def __init__(
        self, files: Sequence[Path], read: Callable[[], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = tuple(files)
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._seen, self.value = self._steady()
        self._next_look = clock() + RECHECK_SECONDS

    def get(self) -> T:
        """Return the value, at most a second old."""
        if self._clock() >= self._next_look:
            self.look()
        return self.value

    def look(self) -> T:
        """Look at the files now, whenever that was done last, and return the value."""
        with self._lock:
            self._next_look = self._clock() + RECHECK_SECONDS
            if self._identities() != self._seen:
                self._read_again()
            return self.value

    def _read_again(self) -> None:
        names = ", ".join(str(file) for file in self._files)
        try:
            self._seen, self.value = self._steady()
        except ValueError as error:
            self._seen = self._identities()
            _logger.error("%s changed and cannot be used; what was there before stays in force: %s", names, error)
            return
        _logger.info("%s changed and was read again", names)

    def _steady(self) -> tuple[object, T]:
        """Return the files' identities and what was read of them; raises what `read` raised."""
        for attempt in range(_ATTEMPTS):
            before = self._identities()
            try:
                value = self._read()
            except ValueError:
                if attempt == _ATTEMPTS - 1 or self._identities() == before:
                    raise
                continue
            if self._identities() == before:
                break
        return before, value

    def _identities(self) -> list[tuple[int, int, int, int] | None]:
        return [_identity(file) for file in self._files]


def _identity(file: Path) -> tuple[int, int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
