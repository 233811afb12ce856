"""How many requests may be in one phase at one time: reading the body; or waiting, scoring and writing."""

from __future__ import annotations

import threading

from scoring_runtime.errors import Overloaded


class Admission:
    """A bounded count of requests. Each holds a thread; the bound is what leaves threads for health checks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def inside(self) -> int:
        """Requests that are inside now."""
        return self._inside

    def __enter__(self) -> None:
        with self._lock:
            if self._inside >= self._limit:
                raise Overloaded("too many requests at one time; send the request again later", [("Retry-After", "1")])
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
