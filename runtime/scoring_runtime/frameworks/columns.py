"""The columns of a table: what a model was trained on, and what a client sends, brought together."""

from __future__ import annotations

from collections.abc import Sequence

from scoring_runtime.errors import InputInvalid
from scoring_runtime.frameworks.estimators import INPUT
from scoring_runtime.frameworks.matching import decoded
from scoring_runtime.tensors import Array, Tensors


def check_features(rows: Array, features: int, names: Sequence[str] | None) -> None:
    """Raise InputInvalid unless `rows` is [rows, features]; `names` are the features' own, for the message."""
    if rows.ndim != 2:
        got = "a list of values" if rows.ndim == 1 else f"{rows.ndim} levels of lists"
        raise InputInvalid(f'"data" must be a list of rows of {features} features each, [[…], …]; got {got}')
    if rows.shape[1] != features:
        called = f" ({', '.join(names)})" if names is not None else ""
        raise InputInvalid(f"the model expects {features} features a row{called}; got {rows.shape[1]}")


def is_one_array(inputs: Tensors, names: Sequence[str] | None, *, text: bool = False) -> bool:
    """Whether the inputs are all features as one array, which clients of V2 must give some name.

    `names` are the features' own. A model of `text`, which has no features, takes an array of any name.
    """
    if len(inputs.arrays) != 1 or inputs.names is None:
        return False
    if inputs.arrays[0].ndim > 1:
        return names is None or inputs.arrays[0].shape[1] == len(names) > 1
    return names is None and (text or inputs.names[0] == INPUT)


def in_order(wanted: Sequence[str] | None, given: Sequence[str], arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Return the arrays in the order of the columns that the model wants, each [rows].

    Raises InputInvalid when a column is missing, is none of the model's, or has several values a row.
    """
    if wanted is None:
        raise InputInvalid('this model was fitted without column names; send rows as {"data": [[…], …]}')
    columns = dict(zip(given, arrays, strict=True))
    missing = [name for name in wanted if name not in columns]
    unexpected = [name for name in given if name not in wanted]
    if missing or unexpected:
        faults = [f"missing: {', '.join(missing)}"] if missing else []
        faults += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
        raise InputInvalid(f"the model expects the columns {', '.join(wanted)}; {'; '.join(faults)}")
    return tuple(_column(name, columns[name]) for name in wanted)


def _column(name: str, cells: Array) -> Array:
    if cells.ndim == 2 and cells.shape[1] == 1:
        cells = cells.reshape(-1)
    if cells.ndim != 1:
        raise InputInvalid(f"column {name} must have one value for each row; got the shape {list(cells.shape)}")
    return decoded(cells, name)
