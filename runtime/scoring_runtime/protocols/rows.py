"""Rows, records and tables of JSON as arrays, for the protocols that write their data so.

- rows: [[5.1, 3.5], [6.2, 2.9]], also deeper (images), or flat: ["a text", "another"];
- records: [{"age": 40, "city": "Bonn"}], whose values may be lists too (models with several inputs);
- a table: the names of the columns, and rows.

null among numbers is NaN. Bytes, which JSON does not have, are written {"b64": "…"}.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from scoring_runtime.errors import InputInvalid, UnsupportedMediaType
from scoring_runtime.replies import JSON
from scoring_runtime.tensors import Array, Signature, Tensors

_LISTS = {list}
_NUMBERS = frozenset({float, int})
_SCALARS = frozenset({str, int, float, bool, type(None)})
_BYTES = "b64"


def check_json(content_type: str) -> None:
    """Raise UnsupportedMediaType unless the type is JSON, or not given."""
    if content_type == JSON:
        return
    kind = media_type(content_type)
    if kind in (JSON, "") or (kind.startswith("application/") and kind.endswith("+json")):
        return
    raise UnsupportedMediaType(f"Content-Type {kind} is not supported; send `Content-Type: application/json`")


def media_type(content_type: str) -> str:
    """Return a content type in lower case and without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def json_object(body: bytes | memoryview, example: str) -> dict[str, Any]:
    """Parse a body that must be a JSON object. Raises InputInvalid, which shows the example."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = f"not JSON: {error}" if body else "empty"
        raise InputInvalid(f"the body is {what}; send {example}") from None
    if type(parsed) is not dict:
        raise InputInvalid(f"the body must be a JSON object, {example}")
    return parsed


def to_json(value: Any) -> bytes:
    """Write arrays, or lists and objects of them, that `plain` has gone over."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=_fallback)


def plain(array: Array) -> Any:
    """Return what orjson writes: contiguous arrays of the machine's own numbers, and lists."""
    if array.dtype.kind in "fiub" and array.dtype.itemsize <= 8 and array.dtype.isnative:
        return np.ascontiguousarray(array)
    return array.tolist()


def rows(data: Any, field: str) -> Tensors:
    """Return rows or records, the value of the field of that name. Raises InputInvalid with what is wrong and where."""
    if type(data) is not list:
        raise InputInvalid(f'"{field}" must be a list of rows, {{"{field}": [[…], …]}}')
    if not data:
        raise InputInvalid(f'"{field}" is empty; send at least one row')
    if type(data[0]) is dict and data[0].keys() != {_BYTES}:
        return _records(data, field)
    return Tensors((array(data, f'"{field}"'),))


def table(data: Any, columns: Any, field: str) -> Tensors:
    """Return rows with the names of their columns. Raises InputInvalid."""
    if type(data) is not list or not data:
        raise InputInvalid(f'"{field}" must be a list of rows, at least one')
    names = _column_names(columns)
    for number, row in enumerate(data):
        if type(row) is not list or len(row) != len(names):
            raise InputInvalid(f'there are {len(names)} "columns", and row {number} of "{field}" is {_described(row)}')
    return named_columns(names, list(zip(*data, strict=True)))


def named_columns(names: Sequence[str], values: Sequence[Sequence[Any]]) -> Tensors:
    """Return columns of scalars or of lists, each the values of all rows. Raises InputInvalid."""
    arrays = tuple(array(list(cells), f"column {name}") for name, cells in zip(names, values, strict=True))
    for name, column in zip(names, arrays, strict=True):
        if len(column) != len(arrays[0]):
            raise InputInvalid(
                f"column {names[0]} has {len(arrays[0])} values and column {name} has {len(column)}; "
                "all columns must have one for each row"
            )
    return Tensors(arrays, tuple(names))


def without_unknown_names(inputs: Tensors, signature: Signature) -> Tensors:
    """Put the columns of a table together as rows where the model does not know any of their names.

    A client that sends data frames names every column, if only "0" to "3"; a model that was fitted on arrays has no
    names, and takes the columns in their order.
    """
    if inputs.names is None or not {spec.name for spec in signature.inputs}.isdisjoint(inputs.names):
        return inputs
    if any(column.ndim != 1 for column in inputs.arrays):
        return Tensors(inputs.arrays) if len(inputs.arrays) == 1 else inputs
    kinds = {column.dtype.kind for column in inputs.arrays}
    dtype = np.result_type(*inputs.arrays) if kinds <= set("fiub") else np.dtype(object)
    matrix = np.empty((len(inputs), len(inputs.arrays)), dtype)
    for number, column in enumerate(inputs.arrays):
        matrix[:, number] = column
    return Tensors((matrix[:, 0] if matrix.shape[1] == 1 and _is_flat(signature) else matrix,))


def array(values: list[Any], where: str) -> Array:
    """Return values or lists of them as one array: numbers as numbers, text or a mix as objects.

    The cells are looked at first, because NumPy's own guess reads [1, "a"] as text, and makes room in every cell for
    the longest text there is. Raises InputInvalid, which names `where`.
    """
    numbers = _floats(values)
    if numbers is not None:
        return numbers
    mixed = np.asarray(values, dtype=object)
    if mixed.size == 0:
        raise InputInvalid(f"{where} has empty rows; each must have at least one value")
    kinds = set(map(type, mixed.ravel().tolist()))
    if not kinds <= _SCALARS:
        if kinds == {dict} and mixed.ndim == 1:
            return _all_bytes(values, where)
        raise InputInvalid(_why_not_an_array(values, where))
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


def _floats(values: list[Any]) -> Array | None:
    """Return lists of floats, the ordinary case, without a look at each cell's object in an array; None for others."""
    if len(values) == 1 and type(values[0]) is list:
        kinds = set(map(type, values[0]))
    elif set(map(type, values)) == _LISTS:
        kinds = set(map(type, chain.from_iterable(values)))
    else:
        return None
    if float not in kinds or not kinds <= _NUMBERS:
        return None
    try:
        return np.array(values, np.float64)
    except (ValueError, OverflowError):
        return None


def bytes_array(elements: Sequence[bytes]) -> Array:
    """Return a one-dimensional array of objects that are bytes, such as images in their files' form."""
    blobs = np.empty(len(elements), object)
    blobs[:] = elements
    return blobs


def _all_bytes(values: list[Any], where: str) -> Array:
    for value in values:
        if value.keys() != {_BYTES} or type(value[_BYTES]) is not str:
            raise InputInvalid(_why_not_an_array(values, where))
    try:
        return bytes_array([b64decode(value[_BYTES], validate=True) for value in values])
    except (binascii.Error, ValueError):
        raise InputInvalid(f'{where} has a {{"b64": …}} that is not base64') from None


def _is_flat(signature: Signature) -> bool:
    return len(signature.inputs) == 1 and len(signature.inputs[0].shape) == 1


def _why_not_an_array(values: list[Any], where: str) -> str:
    lengths = [len(row) if type(row) is list else None for row in values]
    first = lengths[0]
    for number, length in enumerate(lengths):
        if length != first:
            return (
                f"the rows of {where} differ: "
                f"row 0 is {_described(values[0])}, row {number} is {_described(values[number])}"
            )
    return f"the values in {where} must be numbers, strings, booleans or null, and all rows of one shape"


def _described(row: Any) -> str:
    if type(row) is list:
        return f"a list of {len(row)} values"
    if type(row) is dict:
        return "an object"
    return "a single value"


def _records(records: list[Any], field: str) -> Tensors:
    names = _column_names(list(records[0]))
    for number, record in enumerate(records):
        if type(record) is not dict:
            raise InputInvalid(f'row 0 of "{field}" is an object, row {number} is {_described(record)}')
        if record.keys() != records[0].keys():
            differing = ", ".join(sorted(record.keys() ^ records[0].keys()))
            raise InputInvalid(
                f"all records must have the same fields; record {number} and record 0 differ in {differing}"
            )
    return named_columns(names, [[record[name] for record in records] for name in names])


def _column_names(columns: Any) -> tuple[str, ...]:
    # pandas names the columns of a frame that has no names 0, 1, 2.
    if type(columns) is not list or not columns or not all(type(name) in (str, int) for name in columns):
        raise InputInvalid('"columns" must be a list of names, and a record must have at least one field')
    names = tuple(str(name) for name in columns)
    if len(set(names)) != len(names):
        raise InputInvalid('"columns" has a name twice')
    return names


def _fallback(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    return str(value)
