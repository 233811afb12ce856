"""What clients may speak. One module for each protocol: bytes ↔ arrays.

A protocol knows HTTP's bodies and content types; it knows no framework, no queue and no web server. To add one, add a
module and one line to `PROTOCOLS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scoring_runtime.protocols import azure
from scoring_runtime.protocols.call import Call
from scoring_runtime.tensors import Tensors


class Decode(Protocol):
    """Bytes → what to score."""

    def __call__(self, body: bytes, content_type: str, /) -> Call:
        """Return the call. Raises InputInvalid or UnsupportedMediaType."""


class Encode(Protocol):
    """What was scored → the bytes of a JSON response."""

    def __call__(self, result: Tensors, call: Call, /) -> bytes:
        """Return the response's body."""


@dataclass(frozen=True)
class ScoringRoute:
    """One path on which POST scores."""

    path: str
    decode: Decode
    encode: Encode


PROTOCOLS = (ScoringRoute("/score", azure.decode, azure.encode),)
