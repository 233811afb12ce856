"""Azure's form: POST /score with {"data": …}, answered by the bare JSON value of the predictions.

Three ways to write the data, as in the sample scripts of Azure ML and in pandas' `to_json`:

- rows: {"data": [[5.1, 3.5], [6.2, 2.9]]}, also deeper (images) or flat, {"data": ["a text", "another"]};
- records: {"data": [{"age": 40, "city": "Bonn"}]};
- a table: {"columns": ["age", "city"], "data": [[40, "Bonn"]]} (pandas' orient="split").

`"method": "predict_proba"` asks for another method than `predict`. The answer is a JSON list with one entry for each
row: [0, 2]. NaN and infinity, which JSON does not have, are null. A model with several outputs answers one list for
each, and with names an object of lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from scoring_runtime.errors import InputInvalid, UnsupportedMediaType
from scoring_runtime.protocols.call import Call
from scoring_runtime.tensors import Array, Tensors

JSON = "application/json"
_KNOWN = frozenset({"data", "columns", "index", "method"})
_EXAMPLE = '{"data": [[…], …]}'
_SCALARS = frozenset({str, int, float, bool, type(None)})


def decode(body: bytes, content_type: str) -> Call:
    """Read a request body. Raises UnsupportedMediaType, and InputInvalid with what is wrong and where."""
    check_json(content_type)
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = f"not JSON: {error}" if body else "empty"
        raise InputInvalid(f"the body is {what}; send {_EXAMPLE}") from None
    if type(request) is not dict:
        raise InputInvalid(f"the body must be a JSON object, {_EXAMPLE}")
    if not request.keys() <= _KNOWN:
        unknown = ", ".join(sorted(request.keys() - _KNOWN))
        raise InputInvalid(f"unknown field {unknown}; known are data, columns, index and method")
    if "data" not in request:
        raise InputInvalid(f'the body has no "data"; send {_EXAMPLE}')
    method = request.get("method", "")
    if type(method) is not str:
        raise InputInvalid('"method" must be a string, such as "predict_proba"')
    return Call(_tensors(request["data"], request.get("columns")), method)


def encode(result: Tensors, call: Call) -> bytes:
    """Write a result as JSON."""
    if result.names is not None:
        named = dict(zip(result.names, map(_plain, result.arrays), strict=True))
        return orjson.dumps(named, option=orjson.OPT_SERIALIZE_NUMPY, default=_fallback)
    arrays = result.arrays
    value = _plain(arrays[0]) if len(arrays) == 1 else [_plain(array) for array in arrays]
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=_fallback)


def check_json(content_type: str) -> None:
    """Raise UnsupportedMediaType unless the type is JSON, or not given."""
    if content_type == JSON:
        return
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (JSON, "") or (kind.startswith("application/") and kind.endswith("+json")):
        return
    raise UnsupportedMediaType(f"Content-Type {kind} is not supported; send `Content-Type: application/json`")


def _tensors(data: Any, columns: Any) -> Tensors:
    if type(data) is not list:
        raise InputInvalid(f'"data" must be a list of rows, {_EXAMPLE}')
    if not data:
        raise InputInvalid('"data" is empty; send at least one row')
    if columns is not None:
        return _table(data, columns)
    if type(data[0]) is dict:
        return _records(data)
    return Tensors((_array(data),))


def _array(rows: list[Any]) -> Array:
    """Return rows as one array: numbers as numbers, null among them as NaN, text or a mix as objects.

    The cells are looked at first, because NumPy's own guess reads [1, "a"] as text, and makes room in every cell for
    the longest text there is.
    """
    mixed = np.asarray(rows, dtype=object)
    if mixed.size == 0:
        raise InputInvalid('"data" has empty rows; each must have at least one value')
    kinds = set(map(type, mixed.ravel().tolist()))
    if not kinds <= _SCALARS:
        raise InputInvalid(_why_not_an_array(rows))
    if str in kinds:
        return mixed
    if kinds == {bool}:
        return mixed.astype(np.bool_)
    if kinds == {int}:
        try:
            return mixed.astype(np.int64)
        except OverflowError:
            pass
    return mixed.astype(np.float64)


def _why_not_an_array(rows: list[Any]) -> str:
    lengths = [len(row) if type(row) is list else None for row in rows]
    first = lengths[0]
    for number, length in enumerate(lengths):
        if length != first:
            return (
                f'the rows of "data" differ: row 0 is {_described(rows[0])}, row {number} is {_described(rows[number])}'
            )
    return 'the values in "data" must be numbers, strings, booleans or null, and all rows of one shape'


def _described(row: Any) -> str:
    if type(row) is list:
        return f"a list of {len(row)} values"
    if type(row) is dict:
        return "an object"
    return "a single value"


def _table(rows: list[Any], columns: Any) -> Tensors:
    names = _column_names(columns)
    for number, row in enumerate(rows):
        if type(row) is not list or len(row) != len(names):
            raise InputInvalid(f'there are {len(names)} "columns", and row {number} of "data" is {_described(row)}')
    return _columns(names, list(zip(*rows, strict=True)))


def _records(records: list[Any]) -> Tensors:
    names = _column_names(list(records[0]))
    for number, record in enumerate(records):
        if type(record) is not dict:
            raise InputInvalid(f'row 0 of "data" is an object, row {number} is {_described(record)}')
        if record.keys() != records[0].keys():
            differing = ", ".join(sorted(record.keys() ^ records[0].keys()))
            raise InputInvalid(
                f"all records must have the same fields; record {number} and record 0 differ in {differing}"
            )
    return _columns(names, [[record[name] for record in records] for name in names])


def _column_names(columns: Any) -> tuple[str, ...]:
    if type(columns) is not list or not columns or not all(type(name) is str for name in columns):
        raise InputInvalid('"columns" must be a list of names, and a record must have at least one field')
    if len(set(columns)) != len(columns):
        raise InputInvalid('"columns" has a name twice')
    return tuple(columns)


def _columns(names: tuple[str, ...], values: Sequence[Sequence[Any]]) -> Tensors:
    arrays = []
    for name, cells in zip(names, values, strict=True):
        if any(type(cell) not in _SCALARS for cell in cells):
            raise InputInvalid(f"the values of column {name} must be numbers, strings, booleans or null")
        arrays.append(_array(list(cells)))
    return Tensors(tuple(arrays), names)


def _plain(array: Array) -> Any:
    """Return what orjson writes: contiguous arrays of the machine's own numbers, and lists."""
    if array.dtype.kind in "fiub" and array.dtype.itemsize <= 8 and array.dtype.isnative:
        return np.ascontiguousarray(array)
    return array.tolist()


def _fallback(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
