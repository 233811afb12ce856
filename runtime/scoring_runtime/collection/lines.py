"""Collected requests as lines of JSON.

Written by hand where that is safe, and many at one go: at thousands of requests a second, every microsecond here is
taken from the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from scoring_runtime.collection.documents import (
    GRPC,
    REQUEST,
    answer_field,
    binary_field,
    body_field,
    message_field,
    one_line,
)
from scoring_runtime.collection.sample import HEADER_LENGTH, Frame, Plain, Sample
from scoring_runtime.logs import timestamp
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import JSON, Reply

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_AZURE = "azure"
_OK = 200
_FIELDS = b'{"time":"%b","requestId":"%b",%b"status":%d,"ms":%.3f,%b,%b}\n'
_JSON_HEADER = ("Content-Type", JSON)
_BRACKETS = (b"[", b"{")
_MILLISECONDS = tuple(f".{number:03d}Z".encode() for number in range(1000))
_CARRIAGE_RETURN = ord("\r")


class Lines:
    """Writes records of one model. `protocols` are those of its scoring paths; `script`: what runs is a user's script.

    `scrub` takes secrets out of what clients choose for the ids of their requests.
    """

    def __init__(
        self, served: ServedModel, protocols: Mapping[str, str], script: bool, scrub: Callable[[bytes], bytes]
    ) -> None:
        self._scrub = scrub
        self._served = served
        self._protocols = protocols
        # A script is given any body, and may answer with anything it calls JSON.
        self._trusted = frozenset(path for path, protocol in protocols.items() if not (script and protocol == _AZURE))
        self._heads: dict[str, bytes] = {}
        self._plain_heads: dict[str, bytes] = {}

    def is_plain(self, path: str, environ: WSGIEnvironment, reply: Reply) -> bool:
        """Whether request and answer are JSON as they are; compressed, it begins with something else than a bracket."""
        status, headers, body, _ = reply
        return (
            status == _OK
            and path in self._trusted
            and environ.get("CONTENT_TYPE") == JSON
            and headers[0] == _JSON_HEADER
            and body.startswith(_BRACKETS)
            and HEADER_LENGTH not in environ
        )

    def of_plain(self, samples: Sequence[Plain]) -> bytes:
        """Return the records of plain requests of one day, each with a line break at its end."""
        pieces: list[bytes] = []
        add, heads = pieces.extend, self._plain_heads
        this_second, beginning = -1, b""
        ids = self._ids([sample[3] for sample in samples])
        for (started, seconds, path, _, body, answer), request_id in zip(samples, ids, strict=True):
            whole = int(started)
            if whole != this_second:
                this_second, beginning = whole, b'{"time":"' + _second(whole)
            add(
                (
                    beginning,
                    _MILLISECONDS[int((started - whole) * 1000)],
                    b'","requestId":"',
                    request_id,
                    heads.get(path) or self._plain_head(path),
                    b"%.3f" % (seconds * 1000),
                    b',"request":',
                    body,
                    b',"response":',
                    answer,
                    b"}\n",
                )
            )
        written = b"".join(pieces)
        if written.count(b"\n") == len(samples) and _CARRIAGE_RETURN not in written:
            return written
        return self.of_plain([(*sample[:4], one_line(sample[4]), one_line(sample[5])) for sample in samples])

    def of_request(self, sample: Sample) -> bytes:
        """Return the record of any request, with a line break at its end."""
        reply, path = sample.reply, sample.path
        trusted = reply.status == _OK and path in self._trusted
        return _FIELDS % (
            _time(sample.started),
            self._id(sample.request_id),
            self._heads.get(path) or self._head(path),
            reply.status,
            sample.seconds * 1000,
            _request_field(sample, trusted),
            answer_field(reply, trusted),
        )

    def of_frame(self, frame: Frame) -> bytes:
        """Return the record of a script's own table, with a line break at its end."""
        return b'{"time":"%b","correlationId":"%b","model":%b,"modelVersion":%b,"collector":%b,"data":%b}\n' % (
            _time(frame.started),
            self._id(frame.request_id),
            orjson.dumps(self._served.name),
            orjson.dumps(self._served.version),
            orjson.dumps(frame.name),
            one_line(frame.rows),
        )

    def _head(self, path: str) -> bytes:
        """Return what all records of a path have in common."""
        common = {
            "model": self._served.name,
            "modelVersion": self._served.version,
            "protocol": self._protocols.get(path, ""),
            "path": path,
        }
        head = self._heads[path] = orjson.dumps(common)[1:-1] + b","
        return head

    def _plain_head(self, path: str) -> bytes:
        """Return what stands between the id and the duration of a plain request."""
        head = self._plain_heads[path] = b'",' + self._head(path) + b'"status":200,"ms":'
        return head

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


def _request_field(sample: Sample, trusted: bool) -> bytes:
    if sample.header_length is not None:
        return binary_field(REQUEST, sample.body, sample.header_length, "inputs")
    if sample.content_type == GRPC:
        return message_field(REQUEST, sample.body)
    return body_field(REQUEST, sample.body, sample.content_type, trusted)


def _time(seconds: float) -> bytes:
    whole = int(seconds)
    return _second(whole) + _MILLISECONDS[int((seconds - whole) * 1000)]


@lru_cache(maxsize=4)
def _second(whole: int) -> bytes:
    """Return the whole second of a time, without its end."""
    return timestamp(whole)[: -len(".000Z")].encode()
