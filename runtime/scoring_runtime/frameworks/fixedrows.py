"""Running models that were exported for one fixed number of rows.

An ONNX file or an exported program made without a dynamic first axis takes exactly that many rows, usually 1. Batches
are then cut into pieces of that size. The last one is filled up with copies of its last row, whose results are thrown
away: a copy of a real row cannot make a model fail that the row itself does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scoring_runtime.errors import ModelFailed, ModelInvalid
from scoring_runtime.tensors import Array, TensorSpec

Run = Callable[[Sequence[Array]], Sequence[Array]]


def fixed_rows(specs: Sequence[TensorSpec]) -> int | None:
    """Return how many rows the inputs must have, or None for any number.

    Raises ModelInvalid when two inputs want different numbers, or when one has no first axis at all.
    """
    sizes = {spec.name: spec.shape[0] for spec in specs if spec.shape and spec.shape[0] >= 0}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ModelInvalid(
            f"the model's inputs have different fixed first axes ({listed}); the first axis is the row: export it with "
            "a dynamic first axis in every input"
        )
    return next(iter(sizes.values()), None)


def run_in_pieces(run: Run, arrays: Sequence[Array], rows: int | None) -> list[Array]:
    """Return what `run` makes of `arrays`, giving it exactly `rows` rows at a time, or all at once for None.

    Raises ModelFailed when a result does not have one entry for each row that was given.
    """
    given = len(arrays[0])
    if rows is None or rows == given:
        return _checked(run(arrays), given)
    pieces = []
    for start in range(0, given, rows):
        piece = [array[start : start + rows] for array in arrays]
        count = len(piece[0])
        results = _checked(run([_filled(array, rows) for array in piece]), rows)
        pieces.append([result[:count] for result in results])
    return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def _filled(array: Array, rows: int) -> Array:
    short = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], short, axis=0)]) if short else array


def _checked(results: Sequence[Array], rows: int) -> list[Array]:
    for result in results:
        if result.ndim == 0 or len(result) != rows:
            raise ModelFailed(
                f"the model returned a tensor of shape {result.shape} for {rows} rows; its first axis must be rows"
            )
    return list(results)
