"""One request, decoded."""

from __future__ import annotations

from dataclasses import dataclass

from scoring_runtime.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Call:
    """What to score, and with which of the model's methods; an empty `method` is the model's default."""

    inputs: Tensors
    method: str = ""
