"""The one matrix of numbers that libraries of boosted trees take, made of what clients send.

These libraries keep the names of the features that a model was trained on and the values of its categories, but compute
with numbers alone: a category is its position among the values that the column had. A missing value is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scoring_runtime.errors import InputInvalid
from scoring_runtime.frameworks.columns import check_features, in_order, is_one_array
from scoring_runtime.frameworks.estimators import INPUT
from scoring_runtime.frameworks.matching import decoded, fit
from scoring_runtime.tensors import Array, Tensors, TensorSpec

Categories = Sequence[str | float]
"""The values of a column's categories; each is its position to the model."""


@dataclass(frozen=True)
class Features:
    """What the rows of a model consist of."""

    count: int
    dtype: str
    """The float type that the library computes with."""
    names: tuple[str, ...] | None = None
    categories: Mapping[int, Categories] = field(default_factory=dict)
    """By the number of the feature."""
    unknown_is_missing: bool = True
    """Whether a value that is no category counts as missing, or is refused."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What clients are told: a column each where the features have names, else one matrix."""
        if self.names is None:
            return (TensorSpec(INPUT, self._dtype_of(range(self.count)), (-1, self.count)),)
        return tuple(TensorSpec(name, self._dtype_of([at]), (-1,)) for at, name in enumerate(self.names))

    def matrix(self, inputs: Tensors) -> Array:
        """Return the rows as [rows, features] in the library's float type, without gaps between the values.

        Raises InputInvalid for missing or unexpected columns, another number of features, and values of other types.
        """
        if inputs.names is not None and not is_one_array(inputs, self.names):
            columns: Sequence[Array] = in_order(self.names, inputs.names, inputs.arrays)
        else:
            rows = inputs.arrays[0]
            if self.count == 1 and rows.ndim == 1:
                rows = rows.reshape(-1, 1)
            check_features(rows, self.count, self.names)
            if rows.dtype.kind in "fiub" and not self.categories:
                return np.ascontiguousarray(fit(rows, TensorSpec(INPUT, self.dtype)))
            columns = list(rows.T)
        matrix = np.empty((len(columns[0]), self.count), self.dtype)
        for at, column in enumerate(columns):
            matrix[:, at] = self._numbers(at, column)
        return matrix

    def _dtype_of(self, features: Sequence[int]) -> str:
        texts = any(isinstance(value, str) for at in features for value in self.categories.get(at, ()))
        return "object" if texts else self.dtype

    def _numbers(self, at: int, column: Array) -> Array:
        name = self.names[at] if self.names is not None else f"{INPUT}[{at}]"
        if at not in self.categories:
            return fit(column, TensorSpec(name, self.dtype))
        return _codes(name, column, self.categories[at], self.unknown_is_missing)


def _codes(name: str, column: Array, categories: Categories, unknown_is_missing: bool) -> Array:
    """Return the position of each value among the categories; NaN where there is none."""
    positions = {value: float(position) for position, value in enumerate(categories)}
    cells: list[Any] = decoded(column, name).tolist()
    unknown = [cell for cell in cells if _is_value(cell) and cell not in positions]
    if unknown and not unknown_is_missing:
        known = ", ".join(str(value) for value in list(positions)[:10]) + (", …" if len(positions) > 10 else "")
        raise InputInvalid(f"column {name} has the value {unknown[0]!r}, which is no category of the model: {known}")
    return np.array([positions.get(cell, np.nan) if _is_value(cell) else np.nan for cell in cells])


def _is_value(cell: Any) -> bool:
    """Whether the cell holds one value; null and NaN hold none."""
    if isinstance(cell, list | dict):
        raise InputInvalid("a category is one value; there is a list or an object in its column")
    return cell is not None and cell == cell  # noqa: PLR0124 - NaN is not itself
