"""`NumpyParameterType`: an argument of `run` that is a NumPy array."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from scoring_runtime.azureml_shims.parameters import AbstractParameterType, SchemaMismatch

_UNITS = {
    "years": "Y", "months": "M", "weeks": "W", "days": "D", "hours": "h", "minutes": "m", "seconds": "s",
    "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns", "picoseconds": "ps", "femtoseconds": "fs",
    "attoseconds": "as",
}  # fmt: skip


class NumpyParameterType(AbstractParameterType):
    """An array of the sample's dtype, and of its shape but for the first axis.

    `enforce_column_type` is about the dtype, `enforce_shape` about the shape.
    """

    def __init__(
        self, sample_input: np.ndarray[Any, Any], enforce_column_type: bool = True, enforce_shape: bool = True
    ) -> None:
        if not isinstance(sample_input, np.ndarray):
            raise TypeError(f"the sample of a NumpyParameterType must be a numpy.ndarray, not {type(sample_input)}")
        super().__init__(sample_input)
        self.enforce_column_type = enforce_column_type
        self.enforce_shape = enforce_shape

    def deserialize_input(self, input_data: Any) -> Any:
        """Return nested lists as an array. Raises ValueError for another shape or values of another type."""
        if isinstance(input_data, np.ndarray):
            return input_data
        if not isinstance(input_data, list):
            raise SchemaMismatch(f"a list of items expected, got {type(input_data).__name__}")
        array = self._typed(input_data) if self.enforce_column_type else np.array(input_data)
        if self.enforce_shape:
            self._check_shape(array.shape)
        return array

    def input_to_swagger(self) -> dict[str, Any]:
        """See the base class."""
        sample = self.sample_input
        schema = _swagger_of_dtype(sample.dtype)
        for _ in sample.shape:
            schema = {"type": "array", "items": schema}
        return {**schema, "example": [_as_json(item) for item in sample], "format": "numpy.ndarray"}

    def _typed(self, items: list[Any]) -> np.ndarray[Any, Any]:
        dtype = self.sample_input.dtype
        if dtype.kind in "US":
            # A sample of three characters must not cut longer texts.
            dtype = np.dtype(dtype.kind)
        if dtype.names is not None or dtype.kind in "mM":
            items = [_prepared(item, dtype) for item in items]
        return np.array(items, dtype=dtype)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        wanted = self.sample_input.shape
        if len(shape) != len(wanted) or shape[1:] != wanted[1:]:
            described = ", ".join(["any", *map(str, wanted[1:])])
            raise SchemaMismatch(f"an array of shape ({described}) expected, got {shape}")


def _prepared(item: Any, dtype: np.dtype[Any]) -> Any:
    """Return one item as NumPy wants it: records as tuples, times as its own scalars."""
    if dtype.names is not None:
        values = [item[name] for name in dtype.names] if isinstance(item, dict) else item
        return tuple(_prepared(value, dtype[name]) for value, name in zip(values, dtype.names, strict=True))
    if dtype.kind not in "mM":
        return item
    if isinstance(item, list):
        return [_prepared(value, dtype) for value in item]
    return np.datetime64(item) if dtype.kind == "M" else _timedelta(item)


def _timedelta(text: str) -> np.timedelta64:
    count, _, unit = text.partition(" ")
    if unit.strip().lower() not in _UNITS:
        raise SchemaMismatch(f"a duration is written like '3 hours'; the units are {', '.join(_UNITS)}")
    # The stubs want the unit as a literal.
    return np.timedelta64(int(count), _UNITS[unit.strip().lower()])  # type: ignore[call-overload, no-any-return]


def _swagger_of_dtype(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.names is not None:
        return {"type": "object", "properties": {name: _swagger_of_dtype(dtype[name]) for name in dtype.names}}
    if dtype.subdtype is not None:
        schema = _swagger_of_dtype(dtype.subdtype[0])
        for _ in dtype.subdtype[1]:
            schema = {"type": "array", "items": schema}
        return schema
    if dtype.kind in "iu":
        return {"type": "integer", "format": dtype.name}
    if dtype.kind == "f":
        return {"type": "number", "format": "float" if dtype.itemsize <= 4 else "double"}
    simple: dict[str, dict[str, Any]] = {
        "b": {"type": "boolean"},
        "O": {"type": "object"},
        "U": {"type": "string"},
        "S": {"type": "string", "format": "binary"},
        "V": {"type": "string", "format": "binary"},
        "M": {"type": "string", "format": "date-time"},
        "m": {"type": "string", "format": "timedelta"},
    }
    if dtype.kind not in simple:
        raise TypeError(f"a NumpyParameterType cannot describe arrays of {dtype}")
    return simple[dtype.kind]


def _as_json(item: Any) -> Any:
    """Return one item of the sample in the form in which a client would send it."""
    if isinstance(item, np.ndarray):
        return [_as_json(part) for part in item]
    if isinstance(item, np.void) and item.dtype.names is not None:
        return {name: _as_json(item[name]) for name in item.dtype.names}
    if isinstance(item, np.datetime64):
        return str(item)
    if isinstance(item, np.timedelta64):
        unit = {short: long for long, short in _UNITS.items()}[np.datetime_data(item.dtype)[0]]
        return f"{item.astype(np.int64)} {unit}"
    if isinstance(item, bytes | np.void):
        return base64.b64encode(item if isinstance(item, bytes) else item.tobytes()).decode()
    return item.item() if isinstance(item, np.generic) else item
