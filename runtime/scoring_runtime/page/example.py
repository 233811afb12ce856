"""An example request in Azure's form, made from what the model says of its inputs."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from scoring_runtime.protocols.call import Described
from scoring_runtime.tensors import TensorSpec

# More than a person reads, or changes by hand.
_MAX_VALUES = 512
_VALUES: dict[str, Any] = {"f": 1.5, "i": 1, "u": 1, "b": True, "O": "text"}


def example_request(model: Described) -> dict[str, Any] | None:
    """Return a request of one row in the model's form, or None where it says too little or takes too much.

    A value is null where the model names an input and not its type.
    """
    specs = model.signature.inputs
    if not specs or any(not spec.shape or prod(_axes(spec)) > _MAX_VALUES for spec in specs):
        return None
    row = {spec.name: _cell(spec) for spec in specs}
    return {"data": [row if len(row) > 1 else _cell(specs[0])]}


def _axes(spec: TensorSpec) -> list[int]:
    """Return the axes of one row; those of any length have one element."""
    return [max(length, 1) for length in spec.shape[1:]]


def _cell(spec: TensorSpec) -> Any:
    """Return one row of a tensor: its value, or lists of it."""
    value = _VALUES.get(np.dtype(spec.dtype).kind) if spec.dtype else None
    for length in reversed(_axes(spec)):
        value = [value] * length
    return value
