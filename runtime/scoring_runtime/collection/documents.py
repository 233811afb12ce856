"""Bodies as they are written down: JSON as JSON, tensors as V2's JSON, everything else as text or base64.

A request of the Open Inference Protocol looks the same whether it came as JSON, in the binary form or over gRPC: the
values of its tensors are in `data`. A tensor of very many values keeps its raw bytes, as `base64`.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import orjson

from scoring_runtime.errors import RequestError
from scoring_runtime.protocols.datatypes import from_raw, to_raw
from scoring_runtime.protocols.rows import media_type, plain, to_json
from scoring_runtime.replies import JSON, Reply
from scoring_runtime.tensors import Array
from scoring_runtime.web.bodies import decompressed

MAX_VALUES = 16_384
"""The largest tensor that is written out as numbers."""
REQUEST, RESPONSE = b"request", b"response"
GRPC = "application/grpc"
_LENGTH = "Inference-Header-Content-Length"
# Decompressing our own answers; what a script made larger than this stays as it is.
_MAX_PLAIN_BYTES = 64 << 20


def body_field(field: bytes, body: bytes, content_type: str, trusted: bool) -> bytes:
    """Return a body as a field of a record, which is JSON without the braces: `"request":[1,2]`.

    `trusted`: it was read, or written, as JSON by this server; there is no need to look whether it is.
    """
    if not body:
        return b'"%b":null' % field
    kind = content_type if content_type == JSON else media_type(content_type)
    if (kind in (JSON, "") or kind.endswith("+json")) and (trusted or _is_json(body)):
        return b'"%b":%b' % (field, one_line(body))
    return _raw(field, body, kind)


def one_line(json: bytes) -> bytes:
    """Return JSON without line breaks, which in JSON are never a part of a value."""
    if b"\n" in json or b"\r" in json:
        return json.replace(b"\n", b" ").replace(b"\r", b" ")
    return json


def binary_field(field: bytes, body: bytes, length: str, tensors: str) -> bytes:
    """Return a body in V2's binary form as a record's field; `tensors` is the part with the tensors, such as inputs.

    What is not in that form is written as bytes.
    """
    try:
        end = int(length)
        document = orjson.loads(body[:end])
        _fill(document[tensors], memoryview(body)[end:])
    except (ValueError, KeyError, TypeError, AttributeError, RequestError):
        return _raw(field, body, "application/octet-stream")
    return b'"%b":%b' % (field, to_json(document))


def message_field(field: bytes, message: bytes) -> bytes:
    """Return gRPC's ModelInferRequest (field `request`) or ModelInferResponse as a record's field."""
    from scoring_runtime.rpc.documents import request_document, response_document

    try:
        document = (request_document if field == REQUEST else response_document)(message)
    except (ValueError, OverflowError, RequestError):
        return _raw(field, message, GRPC)
    return b'"%b":%b' % (field, to_json(document))


def tensor_values(array: Array, raw: bytes | memoryview | None = None) -> dict[str, Any]:
    """Return the values of a tensor as the fields of V2's JSON; bytes that are not text are base64.

    `raw` is the tensor's raw form where it came so.
    """
    if array.size > MAX_VALUES:
        return {"base64": b64encode(to_raw(array) if raw is None else raw).decode()}
    return {"data": plain(np.ascontiguousarray(array).reshape(-1))}


def answer_field(reply: Reply, trusted: bool) -> bytes:
    """Return the body of an answer as a record's field `response`."""
    # A script writes names in any case; ours are always the same.
    names = dict(reply.headers) if trusted else {name.title(): value for name, value in reply.headers}
    body, kind = reply.body, names.get("Content-Type", "")
    encoding = names.get("Content-Encoding")
    if encoding:
        try:
            body = decompressed(body, encoding, _MAX_PLAIN_BYTES)
        except RequestError:
            return _raw(RESPONSE, body, f"{kind}; {encoding}")
    if kind == GRPC:
        return message_field(RESPONSE, body)
    length = names.get(_LENGTH)
    if length is not None:
        return binary_field(RESPONSE, body, length, "outputs")
    return body_field(RESPONSE, body, kind, trusted)


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


def _raw(field: bytes, body: bytes, kind: str) -> bytes:
    """Return a body that is not JSON: under another name, so that no reader takes it for JSON of that form."""
    content: dict[str, str] = {"contentType": kind}
    try:
        content["text"] = str(body, "utf-8")
    except UnicodeDecodeError:
        content["base64"] = b64encode(body).decode()
    return b'"%b":null,"%bRaw":%b' % (field, field, orjson.dumps(content))
