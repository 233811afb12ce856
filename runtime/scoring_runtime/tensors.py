"""The neutral form of what goes into a model and what comes out: arrays that share their first axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(slots=True, eq=False)
class Tensors:
    """Some rows, held in one or more arrays whose first axis is the row. Never changed once made.

    (Not frozen, since that would treble the cost of making one, and each request makes three.)

    `names` are the columns of a table (each array is then one-dimensional) or the names of a model's tensors, one an
    array; None means that there are none. dtypes are numeric, bool, or object for text and mixed values.
    """

    arrays: tuple[Array, ...]
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def signature(self) -> Hashable:
        """What two Tensors must share to be joined: names, dtypes and every axis but the first."""
        return self.names, tuple([(array.dtype, array.shape[1:]) for array in self.arrays])

    @property
    def nbytes(self) -> int:
        """The memory of all arrays, in bytes."""
        return sum([array.nbytes for array in self.arrays])

    def slice(self, start: int, stop: int) -> Tensors:
        """Return rows `start` up to `stop`, as views."""
        return Tensors(tuple([array[start:stop] for array in self.arrays]), self.names)


def object_array(cells: Sequence[Any]) -> Array:
    """Return [len(cells)] of objects, each cell as it is.

    `np.array` would take lists apart, and make room for the longest text in every cell.
    """
    return np.fromiter(cells, object, len(cells))


class Records(Tensors):
    """Named arrays of one shape [rows, k]: k records for each row, such as the likeliest classes of an image.

    Protocols that write tensors write them as any other; those that write JSON write a list of objects for each row.
    """

    __slots__ = ()

    def slice(self, start: int, stop: int) -> Records:
        """Return rows `start` up to `stop`, as views."""
        return Records(tuple(array[start:stop] for array in self.arrays), self.names)

    def records(self) -> list[list[dict[str, Any]]]:
        """Return for each row its records as dicts by name, of plain Python values."""
        names = self.names or ()
        rows = zip(*(array.tolist() for array in self.arrays), strict=True)
        return [[dict(zip(names, values, strict=True)) for values in zip(*row, strict=True)] for row in rows]


@dataclass(frozen=True)
class TensorSpec:
    """What one input or output of a model looks like.

    `dtype` is NumPy's name for it, "object" for text, or empty where the model does not say. In `shape`, -1 is an axis
    of any length; the first axis is the row.
    """

    name: str
    dtype: str = ""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives; empty tuples where it does not say."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


def join(parts: Sequence[Tensors]) -> Tensors:
    """Put Tensors of one signature behind one another."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    arrays = tuple(np.concatenate(columns) for columns in zip(*(part.arrays for part in parts), strict=True))
    return Tensors(arrays, first.names)
