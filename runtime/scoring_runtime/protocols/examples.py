"""An example request of one row in each protocol's form, made from what the model says of its inputs."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from scoring_runtime.protocols.call import Described
from scoring_runtime.protocols.datatypes import datatype_of
from scoring_runtime.tensors import TensorSpec

# More than a person reads, or changes by hand.
_MAX_VALUES = 512
_VALUES: dict[str, Any] = {"f": 1.5, "i": 1, "u": 1, "b": True, "O": "text"}
_IMAGE = "image"
# A PNG file of one gray pixel.
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def takes_images(model: Described) -> bool:
    """Whether the model takes image files: then its one input is called so (frameworks/images.py)."""
    inputs = model.signature.inputs
    return len(inputs) == 1 and (inputs[0].name, inputs[0].dtype) == (_IMAGE, "object")


def row(model: Described) -> Any:
    """Return one row: a cell or lists of it, or for several inputs an object of these by name.

    None where the model says too little or takes too much; a cell is None where the model names an input and not its
    type.
    """
    cells = _cells(model)
    if cells is None:
        return None
    return cells if len(cells) > 1 else next(iter(cells.values()))


def is_complete(model: Described) -> bool:
    """Whether `row` is there and lacks no type."""
    specs = model.signature.inputs
    return _cells(model) is not None and all(spec.dtype for spec in specs)


def columns(model: Described) -> Any:
    """Return one row as MLflow's `inputs`: rows, or an object of columns."""
    cells = _cells(model) or {}
    return {name: [cell] for name, cell in cells.items()} if len(cells) > 1 else list(cells.values())


def tensors(model: Described) -> list[dict[str, Any]]:
    """Return one row as V2's tensors. The model must be complete."""
    cells = _cells(model) or {}
    return [
        {
            "name": spec.name,
            "shape": [1, *_axes(spec)],
            "datatype": datatype_of(spec.dtype),
            "data": np.array([cells[spec.name]], object).ravel().tolist(),
        }
        for spec in model.signature.inputs
    ]


def _cells(model: Described) -> dict[str, Any] | None:
    specs = model.signature.inputs
    if not specs or any(not spec.shape or prod(_axes(spec)) > _MAX_VALUES for spec in specs):
        return None
    if takes_images(model):
        return {_IMAGE: _PIXEL}
    return {spec.name: _cell(spec) for spec in specs}


def _axes(spec: TensorSpec) -> list[int]:
    """Return the axes of one row; those of any length have one element."""
    return [max(length, 1) for length in spec.shape[1:]]


def _cell(spec: TensorSpec) -> Any:
    value = _VALUES.get(np.dtype(spec.dtype).kind) if spec.dtype else None
    for length in reversed(_axes(spec)):
        value = [value] * length
    return value
