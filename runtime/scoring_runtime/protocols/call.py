"""One request, decoded."""

from __future__ import annotations

from typing import NamedTuple

from scoring_runtime.tensors import Tensors


class Call(NamedTuple):
    """What to score, and with which of the model's methods; an empty `method` is the model's default."""

    inputs: Tensors
    method: str = ""
