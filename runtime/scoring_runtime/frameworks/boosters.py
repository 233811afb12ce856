"""What models of boosted trees have in common: how they are found, and what can be asked of them.

`predict` gives what the library's own `Booster.predict` gives: a probability for binary objectives, one for each class
where there are several, a number otherwise. So answers are those that the model's maker saw, and those of other servers
that load such files. What scikit-learn users expect of a classifier has names of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scoring_runtime.errors import ModelNotFound
from scoring_runtime.frameworks.modelfile import find_model_file
from scoring_runtime.tensors import Array, TensorSpec

PREDICT, PROBABILITIES, CLASSES = "predict", "predict_proba", "predict_class"
# What it takes to start threads and wait for them is more than these rows cost.
ROWS_FOR_THREADS = 256
_PICKLES = frozenset({".joblib", ".pkl", ".pickle", ".skops"})


def find_booster_file(path: Path, suffixes: Sequence[str], library: str) -> Path:
    """Return the model file at or in `path`, as `find_model_file` does.

    A pickled estimator is refused with what to do: its pickle is scikit-learn's interface, and running its code is what
    loading it means.
    """
    try:
        return find_model_file(path, suffixes)
    except ModelNotFound as error:
        files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
        pickled = next((file.name for file in files if file.suffix in _PICKLES), None)
        if pickled is None:
            raise
        raise ModelNotFound(
            f"{pickled} is a pickled estimator, which framework sklearn reads, in an image that has {library} too; "
            f"or save the model itself with save_model, to a file that ends in {' or '.join(suffixes)}"
        ) from error


def class_methods(binary: bool, classes: int) -> tuple[str, ...]:
    """Return the methods that classifiers have beside those of all boosters."""
    return (PROBABILITIES, CLASSES) if binary or classes > 1 else ()


def probabilities(predicted: Array) -> Array:
    """Return a column for each class, [rows, classes], of what `predict` gave; two of a binary objective's one."""
    return predicted if predicted.ndim == 2 else np.stack([1 - predicted, predicted], axis=1)


def likeliest(predicted: Array) -> Array:
    """Return the number of the likeliest class, int64 [rows]; of two that are as likely the first."""
    classes: Array = predicted.argmax(axis=1) if predicted.ndim == 2 else predicted > 0.5
    return classes.astype(np.int64)


def outputs(methods: Sequence[str], classes: int, dtypes: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    """Return what each method gives; `classes` is 1 for one number a row, and `dtypes` have an entry where known."""
    shapes: dict[str, tuple[int, ...]] = {
        PREDICT: (-1,) if classes == 1 else (-1, classes),
        PROBABILITIES: (-1, max(classes, 2)),
        CLASSES: (-1,),
    }
    return tuple(TensorSpec(name, dtypes.get(name, ""), shapes.get(name, ())) for name in methods)
