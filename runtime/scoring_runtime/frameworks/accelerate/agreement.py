"""Whether a converted model answers as the original does, and how much faster it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from scoring_runtime.errors import RequestError
from scoring_runtime.frameworks import Model
from scoring_runtime.frameworks.accelerate.conversion import Answer, Conversion
from scoring_runtime.tensors import Array, Tensors

TOLERANCE = 1e-5
"""By how much a value may differ, as a share of itself and of how much the values differ among themselves.

float32 holds a number to 6e-8 of itself, and adding up some hundred trees or features loses a digit or two of that. A
row that takes another branch of one tree in a forest of a thousand differs by 1e-3 and more.
"""
_FEW_SCORES = 64
_TURNS, _FEW_TURNS, _SECONDS = 40, 5, 0.3


def undecided(scores: Array) -> Array:
    """Return which rows have a second class so close to the first that rounding may choose between them.

    `scores` is [rows, classes], or [rows] of numbers whose sign chooses between two.
    """
    if scores.ndim == 1 or scores.shape[1] == 1:
        close: Array = np.abs(scores.reshape(-1)) <= TOLERANCE
        return close
    first = scores.max(axis=1, keepdims=True)
    near = scores >= first - TOLERANCE * np.maximum(1, np.abs(first))
    several: Array = near.sum(axis=1) > 1
    return several


def any_undecided(scores: Array) -> bool:
    """Return whether `undecided` is true of any row; quick for few rows, where NumPy's calls cost the most."""
    if scores.ndim == 1 or scores.size > _FEW_SCORES:
        return bool(undecided(scores).any())
    for row in scores.tolist():
        first = max(row)
        least = first - TOLERANCE * max(1.0, abs(first))
        if len(row) == 1 or sum(score >= least for score in row) > 1:
            return bool(undecided(scores).any())
    return False


class Comparison(NamedTuple):
    """How two models' answers to the same rows compare."""

    disagreement: str | None
    """In which way they differ, as the end of a sentence; None where they agree."""
    largest: float = 0.0
    """The largest difference of a value, as a share of what `TOLERANCE` is a share of; of classes there is none."""


def compared(original: Model, converted: Conversion, method: str, probes: Iterable[Tensors]) -> Comparison:
    """Return how the answers of one method compare, up to the first rows about which they disagree.

    Rows of a kind that the conversion leaves to the original, and those that the original refuses, cannot differ.
    """
    largest = 0.0
    for probe in probes:
        answer = converted.run(probe, method)
        if answer is None:
            continue
        try:
            own = original.predict(probe, method).arrays[0]
        except RequestError:
            return Comparison(f"{method} of the model refuses rows that the converted one answers")
        said, difference = _difference(own, answer)
        largest = max(largest, difference)
        if said is not None:
            return Comparison(f"{method} of the converted model {said}", largest)
    return Comparison(None, largest)


def _difference(own: Array, answer: Answer) -> Comparison:
    values = answer.values
    if values.shape != own.shape:
        return Comparison(f"has the shape {list(values.shape)} instead of {list(own.shape)}")
    if answer.scores is not None or own.dtype.kind != "f":
        differ = own != values.astype(own.dtype)
        if answer.scores is not None:
            differ = differ & ~undecided(answer.scores)
        return Comparison(f"gives other classes for {differ.sum()} of {len(own)} rows" if differ.any() else None)
    finite = own[np.isfinite(own)]
    scale = np.abs(own) + (finite.std() if finite.size else 0) + np.finfo(np.float32).tiny
    apart = np.abs(values.astype(np.float64) - own)
    differ = ~(apart <= TOLERANCE * scale) & ~(np.isnan(own) & np.isnan(values))
    if not differ.any():
        shares = (apart / scale)[np.isfinite(own)]
        return Comparison(None, float(shares.max()) if shares.size else 0.0)
    largest = np.nanmax(np.abs(values[differ].astype(np.float64) - own[differ]))
    rows = differ.reshape(len(own), -1).any(axis=1).sum()
    return Comparison(f"differs for {rows} of {len(own)} rows, by up to {largest:.2g}")


def times_faster(original: Callable[[], object], converted: Callable[[], object]) -> float:
    """Return how often the time of one call goes into that of the other, by the medians of some calls in turn."""
    before, after = [], []
    started = time.perf_counter()
    for turn in range(_TURNS):
        if turn >= _FEW_TURNS and time.perf_counter() - started > _SECONDS:
            break
        before.append(_seconds(original))
        after.append(_seconds(converted))
    return statistics.median(before) / max(statistics.median(after), 1e-9)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
