"""One request and what it asks for, between the web and the protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from scoring_runtime.tensors import Signature, Tensors


class Described(Protocol):
    """What a protocol may know of the loaded model."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What it can be asked for; the first is the default."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives, as far as it knows."""

    @property
    def platform(self) -> str:
        """What it runs on, such as sklearn."""


@runtime_checkable
class Explained(Protocol):
    """What models have that can say more of themselves: how they are run."""

    parameters: Mapping[str, str | float]
    """For the metadata, by name."""


class Request(NamedTuple):
    """A request to score: its body, decompressed, its content type, or "", and the model that it is for."""

    body: bytes
    content_type: str
    environ: Mapping[str, Any]
    model: Described

    def header(self, name: str) -> str | None:
        """Return a header other than Content-Type and Content-Length, or None; any case."""
        value: str | None = self.environ.get("HTTP_" + name.upper().replace("-", "_"))
        return value


class Call(NamedTuple):
    """What to score, and with which of the model's methods; an empty `method` is the model's default.

    `also` are further methods for the same rows; the result then has an output for each, named for its method.
    `detail` is what the protocol wants to remember for its answer.
    """

    inputs: Tensors
    method: str = ""
    also: tuple[str, ...] = ()
    detail: object = None
