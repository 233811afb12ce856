"""A collected request as one line of JSON.

Written by hand where that is safe: at thousands of requests a second, every microsecond here is taken from the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

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
from scoring_runtime.collection.sample import Frame, Sample
from scoring_runtime.logs import timestamp
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import JSON

_AZURE = "azure"
_OK = 200
_FIELDS = b'{"time":"%b","requestId":%b,%b"status":%d,"ms":%.3f,%b,%b}\n'
_PLAIN = _FIELDS.replace(b",%b,%b}", b',"request":%b,"response":%b}')
_JSON_HEADER = ("Content-Type", JSON)
_BRACKETS = (b"[", b"{")
_MILLISECONDS = tuple(f".{number:03d}Z".encode() for number in range(1000))


class Lines:
    """Writes records of one model. `protocols` are those of its scoring paths; `script`: what runs is a user's script.

    `scrub` takes secrets out of what clients choose for the ids of their requests.
    """

    def __init__(
        self, served: ServedModel, protocols: Mapping[str, str], script: bool, scrub: Callable[[bytes], bytes]
    ) -> None:
        self._script = script
        self._scrub = scrub
        self._served = served
        self._protocols = protocols
        self._heads: dict[str, bytes] = {}

    def ids(self, items: Iterable[Sample | Frame]) -> list[bytes]:
        """Return the id of each as JSON, without secrets; looking for these once for many costs little."""
        ids = b"\n".join(orjson.dumps(item.request_id) for item in items)
        return self._scrub(ids).split(b"\n")

    def of_request(self, sample: Sample, request_id: bytes) -> bytes:
        """Return the record of a request, with a line break at its end. `request_id` is JSON."""
        reply, path = sample.reply, sample.path
        # A script is given any body, and may answer with anything it calls JSON.
        trusted = reply.status == _OK and not (self._script and self._protocols.get(path) == _AZURE)
        if trusted and _is_plain(sample):
            # Nearly all requests of most services.
            request, response = one_line(sample.body), one_line(reply.body)
            form = _PLAIN
        else:
            request, response = _request_field(sample, trusted), answer_field(reply, trusted)
            form = _FIELDS
        return form % (
            _time(sample.started),
            request_id,
            self._heads.get(path) or self._head(path),
            reply.status,
            sample.seconds * 1000,
            request,
            response,
        )

    def of_frame(self, frame: Frame, request_id: bytes) -> bytes:
        """Return the record of a script's own table, with a line break at its end. `request_id` is JSON."""
        return b'{"time":"%b","correlationId":%b,"model":%b,"modelVersion":%b,"collector":%b,"data":%b}\n' % (
            _time(frame.started),
            request_id,
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


def _is_plain(sample: Sample) -> bool:
    """Whether request and answer are JSON as they are. Compressed JSON begins with something else than a bracket."""
    reply = sample.reply
    return (
        sample.content_type == JSON
        and sample.header_length is None
        and reply.headers[0] == _JSON_HEADER
        and reply.body[:1] in _BRACKETS
    )


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
