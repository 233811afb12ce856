"""Bodies as they are written down: JSON as JSON, tensors as V2's JSON, everything else as it came.

A request of the Open Inference Protocol looks the same whether it came as JSON, in the binary form or over gRPC: the
values of its tensors are in `data`. A tensor of very many values keeps its raw bytes, as `base64`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson

from scoring_runtime.collection.sample import Sample
from scoring_runtime.errors import RequestError
from scoring_runtime.protocols.datatypes import from_raw, to_raw
from scoring_runtime.protocols.rows import media_type, plain, to_json
from scoring_runtime.replies import JSON, Reply
from scoring_runtime.tensors import Array
from scoring_runtime.web.bodies import decompressed

MAX_VALUES = 16_384
"""The largest tensor that is written out as numbers."""
GRPC = "application/grpc"
_LENGTH = "Inference-Header-Content-Length"
# Decompressing our own answers; what a script made larger than this stays as it is.
_MAX_PLAIN_BYTES = 64 << 20


class Body(NamedTuple):
    """A body: as JSON, or else as what it is, or nothing at all. A trusted one is UTF-8."""

    json: bytes | None = None
    kind: str = ""
    """The content type of `raw`."""
    raw: bytes | None = None


def body_of(body: bytes, content_type: str, trusted: bool) -> Body:
    """Return a body whose content type says whether it is JSON.

    `trusted`: it was read, or written, as JSON by this server; there is no need to look whether it is.
    """
    if not body:
        return Body()
    kind = content_type if content_type == JSON else media_type(content_type)
    if (kind in (JSON, "") or kind.endswith("+json")) and (trusted or _is_json(body)):
        return Body(body)
    return Body(None, kind, body)


def binary_body(body: bytes, length: str, tensors: str) -> Body:
    """Return a body in V2's binary form; `tensors` is the part with the tensors, such as inputs.

    What is not in that form stays bytes.
    """
    try:
        end = int(length)
        document = orjson.loads(body[:end])
        _fill(document[tensors], memoryview(body)[end:])
    except (ValueError, KeyError, TypeError, AttributeError, RequestError):
        return Body(None, "application/octet-stream", body)
    return Body(to_json(document))


def request_message(message: bytes) -> Body:
    """Return gRPC's ModelInferRequest."""
    from scoring_runtime.rpc.documents import request_document

    return _message(message, request_document)


def response_message(message: bytes) -> Body:
    """Return gRPC's ModelInferResponse."""
    from scoring_runtime.rpc.documents import response_document

    return _message(message, response_document)


def tensor_values(array: Array, raw: bytes | memoryview | None = None) -> dict[str, Any]:
    """Return the values of a tensor as the fields of V2's JSON; bytes that are not text are base64.

    `raw` is the tensor's raw form where it came so.
    """
    if array.size > MAX_VALUES:
        return {"base64": b64encode(to_raw(array) if raw is None else raw).decode()}
    return {"data": plain(np.ascontiguousarray(array).reshape(-1))}


def request_body(sample: Sample, trusted: bool) -> Body:
    """Return the body of a request."""
    if sample.header_length is not None:
        return binary_body(sample.body, sample.header_length, "inputs")
    if sample.content_type == GRPC:
        return request_message(sample.body)
    return body_of(sample.body, sample.content_type, trusted)


def answer_body(reply: Reply, trusted: bool) -> Body:
    """Return the body of an answer, decompressed."""
    # A script writes names in any case; ours are always the same.
    names = dict(reply.headers) if trusted else {name.title(): value for name, value in reply.headers}
    body, kind = reply.body, names.get("Content-Type", "")
    encoding = names.get("Content-Encoding")
    if encoding:
        try:
            body = decompressed(body, encoding, _MAX_PLAIN_BYTES)
        except RequestError:
            return Body(None, f"{kind}; {encoding}", body)
    if kind == GRPC:
        return response_message(body)
    length = names.get(_LENGTH)
    if length is not None:
        return binary_body(body, length, "outputs")
    return body_of(body, kind, trusted)


def _message(message: bytes, document: Callable[[bytes], dict[str, Any]]) -> Body:
    try:
        return Body(to_json(document(message)))
    except (ValueError, OverflowError, RequestError):
        return Body(None, GRPC, message)


def _fill(tensors: list[dict[str, Any]], tail: memoryview) -> None:
    """Put the values of tensors whose bytes follow the JSON into it."""
    position = 0
    for tensor in tensors:
        parameters = tensor.get("parameters") or {}
        size = parameters.pop("binary_data_size", None)
        if size is None:
            continue
        raw = tail[position : position + size]
        position += size
        array = from_raw(tensor["name"], tensor["datatype"], tensor["shape"], raw)
        tensor.update(tensor_values(array, raw))
        if not parameters:
            tensor.pop("parameters")


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
