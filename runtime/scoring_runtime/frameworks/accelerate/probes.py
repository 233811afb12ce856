"""Rows to compare a converted model with: within the ranges that the model's own parameters suggest, and at its edges.

A conversion goes wrong where a number is rounded to float32 on one side only, so that a value just below a tree's
threshold falls on the other side of it. Random rows do not meet that; these have values exactly at thresholds, one step
of float32 or float64 beside them, and rounded to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scoring_runtime.tensors import Array

ROWS = 2000
SEED = 20
_THRESHOLDS_A_ROW = 4


@dataclass(frozen=True)
class Edges:
    """Where trees branch: the number of a column, the threshold, and how many rows are likely to come there."""

    columns: Array = field(default_factory=lambda: np.empty(0, np.int64))
    values: Array = field(default_factory=lambda: np.empty(0))
    weights: Array = field(default_factory=lambda: np.empty(0))

    def joined(self, others: Sequence[Edges]) -> Edges:
        """Return these and others."""
        return Edges(
            np.concatenate([self.columns, *(one.columns for one in others)]),
            np.concatenate([self.values, *(one.values for one in others)]),
            np.concatenate([self.weights, *(one.weights for one in others)]),
        )


def rows_of_numbers(centers: Array, widths: Array, edges: Edges) -> Array:
    """Return [ROWS, columns] of float64: around each column's center, some far away, some whole, some at edges."""
    chance = np.random.default_rng(SEED)
    columns = len(centers)
    spread = chance.choice([0.1, 1.0, 3.0, 30.0], (ROWS, 1), p=[0.2, 0.5, 0.2, 0.1])
    rows: Array = centers + widths * chance.normal(size=(ROWS, columns)) * spread
    whole = chance.random((ROWS, columns)) < 0.1
    rows[whole] = np.round(rows[whole])
    rows[0] = centers
    if len(edges.values):
        share = edges.weights / edges.weights.sum()
        for _ in range(_THRESHOLDS_A_ROW):
            chosen = chance.choice(len(edges.values), ROWS - 1, p=share)
            beside = _beside(edges.values[chosen], chance.integers(0, 7, ROWS - 1))
            rows[np.arange(1, ROWS), edges.columns[chosen]] = beside
    return rows


def _beside(values: Array, way: Array) -> Array:
    """Return each value as it is, or one of its six nearest neighbours in float64 and float32."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    choices = [
        values,
        np.nextafter(values, -np.inf),
        np.nextafter(values, np.inf),
        near,
        np.nextafter(near, np.float32(-np.inf)),
        np.nextafter(near, np.float32(np.inf)),
        (values + near.astype(np.float64)) / 2,
    ]
    result = np.choose(way, [choice.astype(np.float64) for choice in choices])
    return np.where(np.isfinite(result), result, values)
