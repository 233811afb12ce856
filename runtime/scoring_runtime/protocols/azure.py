"""Azure's form: POST /score with {"data": …}, answered by the bare JSON value of the predictions.

Three ways to write the data, as in the sample scripts of Azure ML and in pandas' `to_json`:

- rows: {"data": [[5.1, 3.5], [6.2, 2.9]]}, also deeper (images) or flat, {"data": ["a text", "another"]};
- records: {"data": [{"age": 40, "city": "Bonn"}]};
- a table: {"columns": ["age", "city"], "data": [[40, "Bonn"]]} (pandas' orient="split").

`"method": "predict_proba"` asks for another method than `predict`. The answer is a JSON list with one entry for each
row: [0, 2]. NaN and infinity, which JSON does not have, are null. A model with several outputs answers one list for
each, and with names an object of lists.

A body of type image/… is one row: the bytes of that file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scoring_runtime.errors import InputInvalid, RequestError
from scoring_runtime.protocols import schemas
from scoring_runtime.protocols.call import Call, Described, Request
from scoring_runtime.protocols.routes import Operation, ScoringRoute
from scoring_runtime.protocols.rows import (
    bytes_array,
    check_json,
    json_object,
    media_type,
    plain,
    rows,
    table,
    to_json,
)
from scoring_runtime.replies import JSON, Reply, json_reply
from scoring_runtime.tensors import Records, Tensors

PATH = "/score"
_KNOWN = frozenset({"data", "columns", "index", "method"})
_EXAMPLE = '{"data": [[…], …]}'


def decode(body: bytes, content_type: str) -> Call:
    """Read a request body. Raises UnsupportedMediaType, and InputInvalid with what is wrong and where."""
    if content_type != JSON:
        if media_type(content_type).startswith("image/"):
            return _image(body)
        check_json(content_type)
    request = json_object(body, _EXAMPLE)
    if "data" not in request or len(request) > 1:
        _check_fields(request)
    method = request.get("method", "")
    if type(method) is not str:
        raise InputInvalid('"method" must be a string, such as "predict_proba"')
    columns = request.get("columns")
    if columns is None:
        return Call(rows(request["data"], "data"), method)
    return Call(table(request["data"], columns, "data"), method)


def jsonable(result: Tensors) -> Any:
    """Return what is written of a result: the array, a list of arrays, or an object of them by their names."""
    if result.names is not None:
        if isinstance(result, Records):
            return result.records()
        return dict(zip(result.names, map(plain, result.arrays), strict=True))
    arrays = result.arrays
    return plain(arrays[0]) if len(arrays) == 1 else [plain(array) for array in arrays]


def read(request: Request) -> Call:
    """See `ScoringRoute.decode`."""
    return decode(request.body, request.content_type)


def encode(result: Tensors, call: Call) -> Reply:
    """See `ScoringRoute.encode`."""
    return json_reply(to_json(jsonable(result)))


def error_document(error: RequestError, request_id: str) -> object:
    """Return the form that every error has: {"error": {"code", "message"}, "requestId"}."""
    return {"error": {"code": error.code, "message": error.message}, "requestId": request_id}


def _operation(model: Described) -> Operation:
    request, response = schemas.azure_request(model), schemas.results(model)
    return Operation("Score rows", "Scoring", request, response, schemas.AZURE_ERROR, ("image/*",))


SCORING_ROUTE = ScoringRoute(PATH, read, encode, _operation)


def route_of(name: str) -> ScoringRoute:
    """Return the path of one of several models."""
    return replace(SCORING_ROUTE, path=f"{PATH}/{name}")


def _check_fields(request: dict[str, Any]) -> None:
    """Raise InputInvalid for unknown fields, and where there is no data."""
    if not request.keys() <= _KNOWN:
        unknown = ", ".join(sorted(request.keys() - _KNOWN))
        raise InputInvalid(f"unknown field {unknown}; known are data, columns, index and method")
    if "data" not in request:
        raise InputInvalid(f'the body has no "data"; send {_EXAMPLE}')


def _image(body: bytes) -> Call:
    if not body:
        raise InputInvalid("the body is empty; send the bytes of an image")
    return Call(Tensors((bytes_array([body]),)))
