"""Giving each named input of a model its array, in the dtype and shape that the model declares.

For the libraries whose models say what they take: ONNX, and PyTorch as far as the file knows. What a client sends may
be wider than the model's own type, since JSON has one kind of number; a value is changed only to the nearest one of the
same meaning (0.1 as float64 to 0.1 as float32), and one that would become another (1.5 or 300 as an 8-bit whole
number, 1e300 as a 32-bit float) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scoring_runtime.errors import InputInvalid
from scoring_runtime.tensors import Array, Tensors, TensorSpec, object_array


def match(specs: Sequence[TensorSpec], inputs: Tensors) -> tuple[Array, ...]:
    """Return one array for each spec, in the specs' order and form, all with the same number of rows.

    Raises InputInvalid, in the model's own names.
    """
    arrays = tuple(fit(array, spec) for array, spec in zip(_assigned(specs, inputs), specs, strict=True))
    rows = len(arrays[0])
    for array, spec in zip(arrays, specs, strict=True):
        if len(array) != rows:
            raise InputInvalid(
                f"input {spec.name} has {len(array)} rows and input {specs[0].name} has {rows}; "
                "the first axis of all inputs is the row"
            )
    return arrays


def fit(array: Array, spec: TensorSpec) -> Array:
    """Return `array` with the spec's dtype and number of axes. Raises InputInvalid when that would change values."""
    array = _with_axes(array, spec)
    return _with_dtype(array, np.dtype(spec.dtype), spec.name) if spec.dtype else array


def _assigned(specs: Sequence[TensorSpec], inputs: Tensors) -> Sequence[Array]:
    if inputs.names is not None:
        return _by_name(specs, dict(zip(inputs.names, inputs.arrays, strict=True)))
    if len(inputs.arrays) == len(specs):
        return inputs.arrays
    rows = inputs.arrays[0]
    if len(inputs.arrays) == 1 and rows.ndim == 2 and rows.shape[1] == len(specs) and all(map(_is_column, specs)):
        return [rows[:, number] for number in range(len(specs))]
    raise InputInvalid(f"the model has the inputs {_names(specs)}; send each by its name")


def _by_name(specs: Sequence[TensorSpec], given: dict[str, Array]) -> list[Array]:
    missing = [spec.name for spec in specs if spec.name not in given]
    unexpected = sorted(given.keys() - {spec.name for spec in specs})
    if missing or unexpected:
        faults = [f"missing: {', '.join(missing)}"] if missing else []
        faults += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
        what = "input" if len(specs) == 1 else "inputs"
        raise InputInvalid(f"the model expects the {what} {_names(specs)}; {'; '.join(faults)}")
    return [given[spec.name] for spec in specs]


def _is_column(spec: TensorSpec) -> bool:
    """Whether the input takes one value a row."""
    return len(spec.shape) in (1, 2) and all(axis in (1, -1) for axis in spec.shape[1:])


def _with_axes(array: Array, spec: TensorSpec) -> Array:
    wanted = spec.shape
    if not wanted:
        return array
    if array.ndim == 1 and len(wanted) == 2 and wanted[1] in (1, -1):
        return array.reshape(-1, 1)
    if array.ndim == 2 and len(wanted) == 1 and array.shape[1] == 1:
        return array.reshape(-1)
    fits = array.ndim == len(wanted) and all(
        axis in (-1, got) for axis, got in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        shape = ", ".join(["rows", *("any" if axis < 0 else str(axis) for axis in wanted[1:])])
        raise InputInvalid(f"input {spec.name} must have the shape [{shape}]; got {list(array.shape)}")
    return array


def _with_dtype(array: Array, dtype: np.dtype[np.generic], name: str) -> Array:
    if dtype.kind == "O":
        return as_text(array, name)
    if array.dtype.kind not in "fiub":
        array = _numbers(array, dtype, name)
    if array.dtype == dtype:
        return array
    try:
        with np.errstate(over="raise", invalid="raise"):
            converted = array.astype(dtype)
    except FloatingPointError:
        raise _does_not_fit(dtype, name) from None
    exact = dtype.kind == "f" or np.can_cast(array.dtype, dtype) or np.array_equal(converted, array)
    if not exact:
        raise _does_not_fit(dtype, name)
    return converted


def as_text(array: Array, name: str) -> Array:
    """Return an array of str; bytes are read as UTF-8. Raises InputInvalid for bytes that are none, and for numbers."""
    if array.dtype.kind in "fiub":
        raise InputInvalid(f"input {name} takes text, and got numbers")
    cells = array.ravel().tolist()
    try:
        texts = [str(cell, "utf-8") if isinstance(cell, bytes) else cell for cell in cells]
    except UnicodeDecodeError:
        raise InputInvalid(f"input {name} takes text, and there are bytes that are not UTF-8") from None
    if not all(isinstance(text, str) for text in texts):
        raise InputInvalid(f"input {name} takes text; there is a number or null in it")
    return object_array(texts).reshape(array.shape)


def decoded(array: Array, name: str) -> Array:
    """Return the array with str for bytes, if there are any; all cells must be text then, as for `as_text`."""
    return (
        as_text(array, name) if array.dtype.kind == "O" and any(type(cell) is bytes for cell in array.flat) else array
    )


def _numbers(array: Array, dtype: np.dtype[np.generic], name: str) -> Array:
    """Return objects that are all numbers, booleans or null (then NaN) as float64, or as int64 where all are whole."""
    kinds = {type(cell) for cell in array.ravel().tolist()}
    if not kinds <= {int, float, bool, type(None)}:
        raise InputInvalid(f"input {name} takes numbers ({dtype}); there is text in it")
    try:
        return array.astype(np.int64 if kinds <= {int, bool} else np.float64)
    except OverflowError:
        raise _does_not_fit(dtype, name) from None


def _does_not_fit(dtype: np.dtype[np.generic], name: str) -> InputInvalid:
    return InputInvalid(f"input {name} is {dtype}, and there is a value that this type does not have")


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)
