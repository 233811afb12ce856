"""Collected requests as Parquet: a column for each field, and the bodies as the text of their JSON.

Services differ in what they are asked, and so do the requests of one service. The columns are the same in every file,
so that any files can be read together.

Arrays are made from their buffers: `pyarrow.array` and `pyarrow.scalar` would import pandas where it is installed, a
second and 60 MB that the pods of most models have no other use for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import parquet

from scoring_runtime.collection.documents import Body, answer_body, request_body
from scoring_runtime.collection.records import OK, Records
from scoring_runtime.collection.sample import Frame, Plain, Sample
from scoring_runtime.tensors import Array

_MICROSECONDS = 1_000_000
_TIME = ("time", pa.timestamp("us", tz="UTC"))
_TEXT = pa.string()
_RAW = pa.struct([("contentType", _TEXT), ("text", _TEXT), ("bytes", pa.binary())])
_MODEL = [("model", _TEXT), ("modelVersion", _TEXT)]
REQUESTS = pa.schema(
    [
        _TIME,
        ("requestId", _TEXT),
        *_MODEL,
        ("protocol", _TEXT),
        ("path", _TEXT),
        ("status", pa.int32()),
        ("ms", pa.float64()),
        ("request", _TEXT),
        ("response", _TEXT),
        ("requestRaw", _RAW),
        ("responseRaw", _RAW),
    ]
)
"""The columns of requests. `request` and `response` are JSON; what is not has its bytes in `…Raw`, or its text."""
FRAMES = pa.schema([_TIME, ("correlationId", _TEXT), *_MODEL, ("collector", _TEXT), ("data", _TEXT)])
"""The columns of a script's own tables; `data` is JSON, a list of objects."""
# Few values, many times.
_FEW_VALUES = ["model", "modelVersion", "protocol", "path", "status", "collector"]
# By which a reader may leave files out. The least and the greatest body would be of no use, and long.
_STATISTICS = ["time", "status", "ms"]
# What a batch takes beside its values, measured: its columns, and those of bodies that are not JSON.
_BATCH_BYTES, _RAW_BYTES = 6 << 10, 5 << 10


class Tables(Records[pa.RecordBatch]):
    """Writes records as Parquet, compressed with Zstandard."""

    ending = ".parquet"

    def of_plain(self, samples: Sequence[Plain]) -> pa.RecordBatch:
        """See `Records`."""
        started, seconds, paths, ids, bodies, answers = zip(*samples, strict=True)
        count = len(samples)
        none = _nothing(count)
        return _batch(
            REQUESTS,
            time=_times(started),
            requestId=self._plain_ids(ids),
            **self._columns(paths),
            status=_numbers(np.full(count, OK, np.int32), pa.int32()),
            ms=_milliseconds(seconds),
            request=_texts(bodies),
            response=_texts(answers),
            requestRaw=none,
            responseRaw=none,
        )

    def of_requests(self, samples: Sequence[Sample]) -> pa.RecordBatch:
        """See `Records`."""
        trusted = [self._trusts(sample) for sample in samples]
        requests = [request_body(sample, trusts) for sample, trusts in zip(samples, trusted, strict=True)]
        answers = [answer_body(sample.reply, trusts) for sample, trusts in zip(samples, trusted, strict=True)]
        return _batch(
            REQUESTS,
            time=_times([sample.started for sample in samples]),
            requestId=self._plain_ids([sample.request_id for sample in samples]),
            **self._columns([sample.path for sample in samples]),
            status=_numbers(np.array([sample.reply.status for sample in samples], np.int32), pa.int32()),
            ms=_milliseconds([sample.seconds for sample in samples]),
            request=_texts_or_nulls([body.json for body in requests]),
            response=_texts_or_nulls([body.json for body in answers]),
            requestRaw=_raw(requests),
            responseRaw=_raw(answers),
        )

    def of_frames(self, frames: Sequence[Frame]) -> pa.RecordBatch:
        """See `Records`."""
        return _batch(
            FRAMES,
            time=_times([frame.started for frame in frames]),
            correlationId=self._plain_ids([frame.request_id for frame in frames]),
            **self._model(len(frames)),
            collector=_texts([frame.name.encode() for frame in frames]),
            data=_texts([frame.rows for frame in frames]),
        )

    def size(self, piece: pa.RecordBatch) -> int:
        """See `Records`."""
        raw = any(column.type == _RAW and column.null_count < len(column) for column in piece.columns[-2:])
        return int(piece.get_total_buffer_size()) + _BATCH_BYTES + (_RAW_BYTES if raw else 0)

    def joined(self, pieces: Sequence[pa.RecordBatch]) -> bytes:
        """See `Records`."""
        table = pa.Table.from_batches(pieces)
        names = frozenset(table.column_names)
        written = pa.BufferOutputStream()
        parquet.write_table(
            table,
            written,
            compression="zstd",
            use_dictionary=[name for name in _FEW_VALUES if name in names],
            write_statistics=[name for name in _STATISTICS if name in names],
        )
        return bytes(written.getvalue().to_pybytes())

    def _model(self, count: int) -> dict[str, pa.Array]:
        return {
            "model": _repeated(self._served.name, count),
            "modelVersion": _repeated(self._served.version, count),
        }

    def _columns(self, paths: Sequence[str]) -> dict[str, pa.Array]:
        """Return what follows from the paths of requests."""
        columns, count = self._model(len(paths)), len(paths)
        if paths.count(paths[0]) == count:
            protocol, path = (_repeated(text, count) for text in (self._protocols.get(paths[0], ""), paths[0]))
        else:
            protocol = _texts([self._protocols.get(path, "").encode() for path in paths])
            path = _texts([path.encode() for path in paths])
        return columns | {"protocol": protocol, "path": path}

    def _plain_ids(self, ids: Sequence[str]) -> pa.Array:
        """Return ids without secrets, as they are and not as JSON."""
        written = self._ids(list(ids))
        if b"\\" in b"".join(written):
            written = [orjson.loads(b'"%b"' % one).encode() for one in written]
        return _texts(written)


def _batch(schema: pa.Schema, **columns: pa.Array) -> pa.RecordBatch:
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


@lru_cache(maxsize=256)
def _repeated(text: str, count: int) -> pa.Array:
    return _texts([text.encode()] * count)


@lru_cache(maxsize=128)
def _nothing(count: int) -> pa.Array:
    """Return as many nulls."""
    columns = [_texts_or_nulls([None] * count, field.type) for field in _RAW]
    return pa.Array.from_buffers(_RAW, count, [_bits([False] * count)], children=columns)


def _times(seconds: Sequence[float]) -> pa.Array:
    """Return seconds since 1970 as points in time."""
    return _numbers((np.array(seconds) * _MICROSECONDS).astype(np.int64), _TIME[1])


def _milliseconds(seconds: Sequence[float]) -> pa.Array:
    return _numbers(np.rint(np.array(seconds) * _MICROSECONDS) / 1000, pa.float64())


def _numbers(values: Array, kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _texts(values: Sequence[bytes], kind: pa.DataType = _TEXT, there: pa.Buffer | None = None) -> pa.Array:
    """Return UTF-8 as text, or bytes as they are; `there` has a bit for each that is not null.

    Raises ArrowInvalid (a ValueError) for text that is none.
    """
    count = len(values)
    ends = np.zeros(count + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, count), out=ends[1:])
    joined = b"".join(values)
    array = pa.Array.from_buffers(kind, count, [there, pa.py_buffer(ends), pa.py_buffer(joined)])
    if kind is _TEXT and not joined.isascii():
        array.validate(full=True)
    return array


def _texts_or_nulls(values: Sequence[bytes | None], kind: pa.DataType = _TEXT) -> pa.Array:
    return _texts([value or b"" for value in values], kind, _bits([value is not None for value in values]))


def _bits(values: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _raw(bodies: Sequence[Body]) -> pa.Array:
    """Return what the bodies are that are not JSON: their text, or else their bytes."""
    if all(body.raw is None for body in bodies):
        return _nothing(len(bodies))
    texts = [body.raw if body.raw is not None and _is_text(body.raw) else None for body in bodies]
    others = [body.raw if text is None else None for body, text in zip(bodies, texts, strict=True)]
    kinds = [None if body.raw is None else body.kind.encode() for body in bodies]
    columns = [_texts_or_nulls(kinds), _texts_or_nulls(texts), _texts_or_nulls(others, pa.binary())]
    return pa.Array.from_buffers(_RAW, len(bodies), [_bits([kind is not None for kind in kinds])], children=columns)


def _is_text(raw: bytes) -> bool:
    try:
        str(raw, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
