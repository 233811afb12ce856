"""Collected requests as lines of JSON, written by hand where that is safe."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import orjson

from scoring_runtime.collection.documents import Body, answer_body, request_body
from scoring_runtime.collection.records import Records
from scoring_runtime.collection.sample import Frame, Plain, Sample
from scoring_runtime.logs import timestamp
from scoring_runtime.protocols import ServedModel

_FIELDS = b'{"time":"%b","requestId":"%b",%b"status":%d,"ms":%.3f,%b,%b}\n'
_MILLISECONDS = tuple(f".{number:03d}Z".encode() for number in range(1000))
_CARRIAGE_RETURN = ord("\r")


class Lines(Records[bytes]):
    """Writes records as lines, each with a line break at its end."""

    ending = ".jsonl"

    def __init__(
        self, served: ServedModel, protocols: Mapping[str, str], script: bool, scrub: Callable[[bytes], bytes]
    ) -> None:
        super().__init__(served, protocols, script, scrub)
        self._heads: dict[str, bytes] = {}
        self._plain_heads: dict[str, bytes] = {}

    def of_plain(self, samples: Sequence[Plain]) -> bytes:
        """See `Records`."""
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
        return self.of_plain([(*sample[:4], _one_line(sample[4]), _one_line(sample[5])) for sample in samples])

    def of_requests(self, samples: Sequence[Sample]) -> bytes:
        """See `Records`."""
        return b"".join([self._of_request(sample) for sample in samples])

    def of_frames(self, frames: Sequence[Frame]) -> bytes:
        """See `Records`."""
        return b"".join([self._of_frame(frame) for frame in frames])

    def size(self, piece: bytes) -> int:
        """See `Records`."""
        return len(piece)

    def joined(self, pieces: Sequence[bytes]) -> bytes:
        """See `Records`."""
        return b"".join(pieces)

    def _of_request(self, sample: Sample) -> bytes:
        reply, path, trusted = sample.reply, sample.path, self._trusts(sample)
        return _FIELDS % (
            _time(sample.started),
            self._id(sample.request_id),
            self._heads.get(path) or self._head(path),
            reply.status,
            sample.seconds * 1000,
            _field(b"request", request_body(sample, trusted)),
            _field(b"response", answer_body(reply, trusted)),
        )

    def _of_frame(self, frame: Frame) -> bytes:
        return b'{"time":"%b","correlationId":"%b","model":%b,"modelVersion":%b,"collector":%b,"data":%b}\n' % (
            _time(frame.started),
            self._id(frame.request_id),
            orjson.dumps(self._served.name),
            orjson.dumps(self._served.version),
            orjson.dumps(frame.name),
            _one_line(frame.rows),
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


def _field(name: bytes, body: Body) -> bytes:
    """Return a body as a field of a record, which is JSON without the braces: `"request":[1,2]`.

    What is not JSON is under another name, so that no reader takes it for JSON of that form.
    """
    if body.json is not None:
        return b'"%b":%b' % (name, _one_line(body.json))
    if body.raw is None:
        return b'"%b":null' % name
    content = {"contentType": body.kind}
    try:
        content["text"] = str(body.raw, "utf-8")
    except UnicodeDecodeError:
        content["base64"] = b64encode(body.raw).decode()
    return b'"%b":null,"%bRaw":%b' % (name, name, orjson.dumps(content))


def _one_line(json: bytes) -> bytes:
    """Return JSON without line breaks, which in JSON are never a part of a value."""
    if b"\n" in json or b"\r" in json:
        return json.replace(b"\n", b" ").replace(b"\r", b" ")
    return json


def _time(seconds: float) -> bytes:
    whole = int(seconds)
    return _second(whole) + _MILLISECONDS[int((seconds - whole) * 1000)]


@lru_cache(maxsize=4)
def _second(whole: int) -> bytes:
    """Return the whole second of a time, without its end."""
    return timestamp(whole)[: -len(".000Z")].encode()
