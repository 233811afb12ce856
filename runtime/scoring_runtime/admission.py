"""How many requests may be in one phase at one time: reading the body; or waiting, scoring and writing."""

from __future__ import annotations

from collections import deque

from scoring_runtime.errors import Overloaded


class Admission:
    """A bounded count of requests. Each holds a thread; the bound is what leaves threads for health checks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # One for each that may come in. Taking one is a single step of the interpreter, and costs a tenth of a lock.
        self._tickets = deque([None]) * limit

    @property
    def inside(self) -> int:
        """Requests that are inside now."""
        return self._limit - len(self._tickets)

    def enter(self) -> None:
        """Let one in, who has to `leave`. Raises Overloaded when there is no room."""
        try:
            self._tickets.pop()
        except IndexError:
            raise Overloaded(
                "too many requests at one time; send the request again later", [("Retry-After", "1")]
            ) from None

    def leave(self) -> None:
        """Note that one has left."""
        self._tickets.append(None)

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self._tickets.append(None)
