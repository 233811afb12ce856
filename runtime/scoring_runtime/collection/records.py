"""What records are made from, whichever form they are written in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import orjson

from scoring_runtime.collection.sample import HEADER_LENGTH, Frame, Plain, Sample
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import JSON, Reply

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Piece = TypeVar("Piece")
"""Some records of one kind, as they wait for the object that they will be in."""
OK = 200
_AZURE = "azure"
_JSON_HEADER = ("Content-Type", JSON)
_BRACKETS = (b"[", b"{")


class Records(ABC, Generic[Piece]):
    """Writes records of one model, many at one go: at thousands of requests a second, every microsecond here is taken
    from the model.

    `protocols` are those of its scoring paths; `script`: what runs is a user's script. `scrub` takes secrets out of
    what clients choose for the ids of their requests.
    """

    ending: ClassVar[str]
    """The ending of the names of objects."""

    def __init__(
        self, served: ServedModel, protocols: Mapping[str, str], script: bool, scrub: Callable[[bytes], bytes]
    ) -> None:
        self._scrub = scrub
        self._served = served
        self._protocols = protocols
        # A script is given any body, and may answer with anything it calls JSON.
        self._trusted = frozenset(path for path, protocol in protocols.items() if not (script and protocol == _AZURE))

    @abstractmethod
    def of_plain(self, samples: Sequence[Plain]) -> Piece:
        """Return the records of plain requests of one day."""

    @abstractmethod
    def of_requests(self, samples: Sequence[Sample]) -> Piece:
        """Return the records of any requests."""

    @abstractmethod
    def of_frames(self, frames: Sequence[Frame]) -> Piece:
        """Return the records of a script's own tables."""

    @abstractmethod
    def size(self, piece: Piece) -> int:
        """Return what records take in memory, in bytes."""

    @abstractmethod
    def joined(self, pieces: Sequence[Piece]) -> bytes:
        """Return the object with these records, which are of one kind and at least one."""

    def is_plain(self, path: str, environ: WSGIEnvironment, reply: Reply) -> bool:
        """Whether request and answer are JSON as they are; compressed, it begins with something else than a bracket."""
        status, headers, body, _ = reply
        return (
            status == OK
            and path in self._trusted
            and environ.get("CONTENT_TYPE") == JSON
            and headers[0] == _JSON_HEADER
            and body.startswith(_BRACKETS)
            and HEADER_LENGTH not in environ
        )

    def _trusts(self, sample: Sample) -> bool:
        """Whether this server itself read the request and wrote the answer."""
        return sample.reply.status == OK and sample.path in self._trusted

    def _ids(self, ids: list[str]) -> list[bytes]:
        """Return each id as `_id` does; for many at one go, which costs little where there is nothing to take out."""
        together = " ".join(ids)
        written = orjson.dumps(together)[1:-1]
        as_they_are = len(written) == len(together) and written.count(b" ") == len(ids) - 1
        if as_they_are and self._scrub(written) == written:
            return written.split(b" ")
        return [self._id(request_id) for request_id in ids]

    def _id(self, request_id: str) -> bytes:
        """Return an id as JSON without its quotes, without secrets."""
        return self._scrub(orjson.dumps(request_id))[1:-1]
