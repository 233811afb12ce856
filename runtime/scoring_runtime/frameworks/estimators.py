"""What a fitted scikit-learn estimator takes and gives, for clients that ask before they send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scoring_runtime.tensors import Signature, TensorSpec

INPUT = "input-0"
"""The name of the one input of an estimator that was fitted without column names."""


def takes_text(estimator: Any) -> bool:
    """Whether the estimator, or the first step of a pipeline, turns texts into features."""
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[0][1]
    # All of scikit-learn's text vectorizers have it, and nothing else.
    return callable(getattr(estimator, "build_analyzer", None))


def signature(estimator: Any, methods: Sequence[str]) -> Signature:
    """Return the inputs, a column each where the columns have names, and the outputs of each method."""
    outputs = tuple(spec for method in methods for spec in _OUTPUTS[method](estimator, method))
    return Signature(_inputs(estimator), outputs)


def _inputs(estimator: Any) -> tuple[TensorSpec, ...]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        # Which of them are numbers is nowhere in a fitted estimator.
        return tuple(TensorSpec(str(name), "", (-1,)) for name in names)
    features = getattr(estimator, "n_features_in_", None)
    if features is not None:
        return (TensorSpec(INPUT, "float64", (-1, int(features))),)
    return (TensorSpec(INPUT, "object", (-1,)) if takes_text(estimator) else TensorSpec(INPUT),)


def _of_predict(estimator: Any, method: str) -> list[TensorSpec]:
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        dtype = np.result_type(*classes) if all(part.dtype.kind in "biuf" for part in classes) else np.dtype(object)
        return [TensorSpec(method, _name_of(dtype), (-1, len(classes)))]
    if classes is not None:
        # Several labels for each row (multilabel) are a matrix of 0 and 1.
        columns = (len(classes),) if getattr(estimator, "multilabel_", False) else ()
        return [TensorSpec(method, _name_of(np.asarray(classes).dtype), (-1, *columns))]
    kind = getattr(estimator, "_estimator_type", None) or _kind(estimator)
    if kind == "regressor":
        targets = _targets(estimator)
        return [TensorSpec(method, "float64", (-1,) if targets == 1 else (-1, targets))]
    if kind == "outlier_detector":
        return [TensorSpec(method, "int64", (-1,))]
    labels = getattr(estimator, "labels_", None)
    return [TensorSpec(method, "" if labels is None else _name_of(np.asarray(labels).dtype), (-1,))]


def _of_predict_proba(estimator: Any, method: str) -> list[TensorSpec]:
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        # One array for each target, as `predict_proba` returns them.
        return [TensorSpec(f"{method}_{at}", "float64", (-1, len(part))) for at, part in enumerate(classes)]
    return [TensorSpec(method, "float64", (-1, -1 if classes is None else len(classes)))]


def _of_decision_function(estimator: Any, method: str) -> list[TensorSpec]:
    classes = getattr(estimator, "classes_", None)
    if classes is None or len(classes) == 2:
        return [TensorSpec(method, "float64", (-1,))]
    final = _final(estimator)
    if getattr(final, "decision_function_shape", "") == "ovo":
        return [TensorSpec(method, "float64", (-1, len(classes) * (len(classes) - 1) // 2))]
    return [TensorSpec(method, "float64", (-1, len(classes)))]


_OUTPUTS = {
    "predict": _of_predict,
    "predict_proba": _of_predict_proba,
    "decision_function": _of_decision_function,
}


def _kind(estimator: Any) -> str | None:
    """Return "classifier", "regressor" and so on by scikit-learn's tags; None for what has none."""
    from sklearn.utils import get_tags

    try:
        kind: str | None = get_tags(estimator).estimator_type
    except (AttributeError, TypeError):
        return None
    return kind


def _targets(estimator: Any) -> int:
    """Return how many numbers a regressor predicts for a row; -1 where it does not say."""
    final = _final(estimator)
    targets = getattr(final, "n_outputs_", None)
    if targets is not None:
        return int(targets)
    estimators = getattr(final, "estimators_", None)
    if type(final).__name__ == "MultiOutputRegressor" and estimators is not None:
        return len(estimators)
    coefficients = getattr(final, "coef_", None)
    shape: tuple[int, ...] = getattr(coefficients, "shape", ())
    return int(shape[0]) if len(shape) == 2 else 1


def _final(estimator: Any) -> Any:
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[-1][1]
    return estimator


def _name_of(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.kind in "biuf" else "object"
