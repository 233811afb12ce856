"""From a classifier's scores to the names of its likeliest classes."""

from __future__ import annotations

import numpy as np

from scoring_runtime.tensors import Array, Records, TensorSpec

_FIELDS = ("label", "probability")


def softmax(scores: Array) -> Array:
    """Return each row's probabilities as float32, without overflow for large scores."""
    scores = scores.astype(np.float32)
    shifted: Array = np.exp(scores - scores.max(axis=1, keepdims=True))
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def likeliest(labels: Array, probabilities: Array, count: int) -> Records:
    """Return the `count` likeliest classes of each row with their probabilities, the first of equals first."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return Records((labels[best], np.take_along_axis(probabilities, best, axis=1)), _FIELDS)


def likeliest_specs(count: int) -> tuple[TensorSpec, TensorSpec]:
    """Return what `likeliest` gives, for those who ask before they send."""
    label, probability = _FIELDS
    return TensorSpec(label, "object", (-1, count)), TensorSpec(probability, "float32", (-1, count))
