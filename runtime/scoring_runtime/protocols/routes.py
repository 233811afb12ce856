"""What a protocol gives to the server: the paths on which it scores and those on which it tells about the model.

Paths are whole and literal, made once at start from the model's name and version: finding one is a look into a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from scoring_runtime.errors import RequestError
from scoring_runtime.protocols.call import Call, Described, Request
from scoring_runtime.replies import Reply
from scoring_runtime.tensors import Tensors

Schema = dict[str, Any]


@dataclass(frozen=True)
class ServedModel:
    """What clients call the model."""

    name: str
    version: str


@dataclass(frozen=True)
class Operation:
    """What a scoring route takes and gives, for its OpenAPI description. Schemas are those of JSON Schema."""

    summary: str
    tag: str
    request: Schema
    response: Schema
    error: Schema
    other_types: tuple[str, ...] = ()
    """Content types beside application/json that it reads; their bodies are bytes."""


@dataclass(frozen=True)
class ScoringRoute:
    """One path on which POST scores."""

    path: str
    decode: Callable[[Request], Call]
    """Bytes → what to score. Raises InputInvalid or UnsupportedMediaType."""
    encode: Callable[[Tensors, Call], Reply]
    """What was scored → the response."""
    describe: Callable[[Described], Operation]


class Asked(NamedTuple):
    """What a reading route may know: the model, None while it is not loaded, and the request's query."""

    ready: bool
    model: Described | None
    query: Mapping[str, str]
    base: str
    """The path prefix under which the client called."""


@dataclass(frozen=True)
class ReadingRoute:
    """One path on which GET tells something. Those that are not `open` tell about the model's inside."""

    path: str
    answer: Callable[[Asked], Reply]
    """Raises a RequestError."""
    summary: str
    open: bool = True


@dataclass(frozen=True)
class ErrorForm:
    """How a protocol writes errors, and where: on its own paths, and below those that end with a slash."""

    paths: tuple[str, ...]
    document: Callable[[RequestError, str], object]
    """An error and the request's id → what is written as JSON."""
