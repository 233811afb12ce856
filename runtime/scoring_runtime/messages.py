"""An HTTP request as plain values: for what wants to see one without knowing a web framework."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HttpRequest:
    """One request, its body already read and decompressed."""

    method: str
    path: str
    query: str = ""
    """What stands behind the question mark, as it was sent."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names are in the usual spelling, Content-Type."""
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the value of a header, or "" where it is missing."""
        wanted = name.lower()
        return next((value for given, value in self.headers if given.lower() == wanted), "")


OpenRequest = Callable[[HttpRequest], AbstractContextManager[Any]]
"""Gives a request as an object of a web framework; inside the context that framework's globals work too."""
