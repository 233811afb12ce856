"""MLflow's scoring protocol: POST /invocations, answered by {"predictions": …}.

JSON has exactly one of these fields, and may have "params" beside it:

- dataframe_split: {"columns": […], "data": [[…]]}; dataframe_records: [{…}];
- instances: rows or objects, one for each row; inputs: rows, or an object of columns.

CSV (text/csv) has the names of the columns in its first line; an empty cell is a missing value. The names of columns
matter to a model that was fitted with names, and to others their order. `"params": {"method": "predict_proba"}` asks
for another method than `predict`; other params are for MLflow's own models and are ignored.

Source: MLflow's documentation, "Local inference server specification".
"""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

from scoring_runtime.errors import InputInvalid, RequestError, UnsupportedMediaType
from scoring_runtime.protocols import schemas
from scoring_runtime.protocols.azure import jsonable
from scoring_runtime.protocols.call import Call, Described, Request
from scoring_runtime.protocols.routes import Asked, ErrorForm, Operation, ReadingRoute, ScoringRoute
from scoring_runtime.protocols.rows import (
    array,
    check_json,
    json_object,
    media_type,
    named_columns,
    rows,
    table,
    to_json,
    without_unknown_names,
)
from scoring_runtime.protocols.v1 import method_in
from scoring_runtime.replies import JSON, Reply, json_reply
from scoring_runtime.tensors import Tensors

CSV = "text/csv"
FIELDS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_EXAMPLE = '{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}'
_BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
_MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def decode(request: Request) -> Call:
    """Read a request. Raises UnsupportedMediaType, and InputInvalid with what is wrong and where."""
    if media_type(request.content_type) == CSV:
        inputs, method = _from_csv(request.body), ""
    else:
        _check_type(request.content_type)
        body = json_object(request.body, _EXAMPLE)
        inputs, method = _from_json(body), method_in(body, "params")
    return Call(without_unknown_names(inputs, request.model.signature), method)


def encode(result: Tensors, call: Call) -> Reply:
    """Write a result: a list, or for named outputs an object of lists."""
    return json_reply(to_json({"predictions": jsonable(result)}))


def reading_routes(server_version: str) -> tuple[ReadingRoute, ...]:
    """Return the health checks and the version, as MLflow's own server has them."""

    def ping(asked: Asked) -> Reply:
        return Reply(200 if asked.ready else 503, [("Content-Type", JSON), ("Content-Length", "1")], b"\n")

    def version(asked: Asked) -> Reply:
        text = server_version.encode()
        return Reply(200, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))], text)

    return (
        ReadingRoute("/ping", ping, "Whether the model is ready"),
        ReadingRoute("/health", ping, "Whether the model is ready"),
        ReadingRoute("/version", version, "The version of this server"),
    )


def error_document(error: RequestError, request_id: str) -> object:
    """Return MLflow's form of an error, with one of its error codes."""
    return {"error_code": _CODES.get(error.status, "BAD_REQUEST"), "message": error.message}


ERRORS = ErrorForm(("/invocations", "/ping", "/health", "/version"), error_document)


def _operation(model: Described) -> Operation:
    return Operation(
        "Score a data frame or rows (MLflow)",
        "MLflow",
        schemas.mlflow_request(model),
        schemas.answer("predictions", model),
        schemas.MLFLOW_ERROR,
        (CSV,),
    )


SCORING_ROUTES = (ScoringRoute("/invocations", decode, encode, _operation),)


def _check_type(content_type: str) -> None:
    try:
        check_json(content_type)
    except UnsupportedMediaType:
        kind = media_type(content_type)
        raise UnsupportedMediaType(f"Content-Type {kind} is not supported; send {JSON} or {CSV}") from None


def _from_json(body: dict[str, Any]) -> Tensors:
    found = [field for field in FIELDS if field in body]
    if len(found) != 1:
        has = f"has {' and '.join(found)}" if found else "has none of them"
        raise InputInvalid(f"the body must have exactly one of {', '.join(FIELDS)}; it {has}")
    (field,) = found
    value = body[field]
    if field == "dataframe_split":
        return _split(value)
    if field == "dataframe_records" and not (type(value) is list and value and type(value[0]) is dict):
        raise InputInvalid('"dataframe_records" must be a list of objects, at least one')
    if field == "inputs" and type(value) is dict:
        return _columns(value)
    if field == "inputs" and type(value) in (str, int, float, bool):
        value = [value]
    return rows(value, field)


def _split(value: Any) -> Tensors:
    if type(value) is not dict or "data" not in value:
        raise InputInvalid(f'"dataframe_split" must be an object with "columns" and "data", {_EXAMPLE}')
    if value.get("columns") is None:
        return rows(value["data"], "data")
    return table(value["data"], value["columns"], "data")


def _columns(value: dict[str, Any]) -> Tensors:
    if not value:
        raise InputInvalid('"inputs" is empty; send at least one column')
    for name, cells in value.items():
        if type(cells) is not list or not cells:
            raise InputInvalid(f'column {name} of "inputs" must be a list with one value for each row')
    return named_columns(tuple(value), list(value.values()))


def _from_csv(body: bytes) -> Tensors:
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in csv.reader(StringIO(text, newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputInvalid(f"the body is not CSV in UTF-8: {error}") from None
    if len(lines) < 2:
        raise InputInvalid("the CSV must have the names of the columns in its first line, and at least one row")
    names, *records = lines
    if len(set(names)) != len(names):
        raise InputInvalid("the first line of the CSV has a name twice; it must be the names of the columns")
    for number, record in enumerate(records):
        if len(record) != len(names):
            raise InputInvalid(f"the CSV has {len(names)} columns, and row {number} has {len(record)} cells")
    return Tensors(
        tuple(
            array(_typed(cells), f"column {name}")
            for name, cells in zip(names, zip(*records, strict=True), strict=True)
        ),
        tuple(names),
    )


def _typed(cells: tuple[str, ...]) -> list[Any]:
    """Return a column's cells as whole numbers, numbers or booleans if all of them are, otherwise as they are."""
    present = [cell for cell in cells if cell not in _MISSING]
    if not present:
        return [None] * len(cells)
    if all(cell in _BOOLEANS for cell in present):
        return [_BOOLEANS.get(cell) for cell in cells]
    for number in (int, float):
        try:
            return [None if cell in _MISSING else number(_digits(cell)) for cell in cells]
        except ValueError:
            continue
    return [cell if cell else None for cell in cells]


def _digits(cell: str) -> str:
    # Python reads 1_000 as a number, and no one else does.
    if "_" in cell:
        raise ValueError(cell)
    return cell
