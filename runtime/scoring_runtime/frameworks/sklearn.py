"""scikit-learn models, saved with joblib, pickle or skops.

Loading a .joblib or .pkl runs code that the file brings; `docs/model-safety.md` says what follows from that.

scikit-learn itself is imported by what the file holds, which takes seconds; a file that is no model is told before.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scoring_runtime.errors import FrameworkMissing, InputRejected, ModelFailed, ModelInvalid
from scoring_runtime.frameworks import LoadOptions, estimators, inturn, pickles, plainarrays, repeated
from scoring_runtime.frameworks.causes import check_rows, first_line, refused
from scoring_runtime.frameworks.columns import check_features, in_order, is_one_array
from scoring_runtime.frameworks.matching import decoded
from scoring_runtime.frameworks.modelfile import check_content, check_memory, find_model_file
from scoring_runtime.process.threads import limit_loaded_libraries
from scoring_runtime.tensors import Array, Tensors

SUFFIXES = (".joblib", ".pkl", ".pickle", ".skops")
METHODS = ("predict", "predict_proba", "decision_function")
# From here on the threads of a forest with n_jobs are worth what it costs to start them.
LARGE_BATCH_ROWS = 1000


class SklearnModel:
    """One fitted estimator or pipeline."""

    platform = "sklearn"

    def __init__(self, estimator: Any, notes: Sequence[str] = (), cores: int = 1) -> None:
        self._estimator = estimator
        self._cores = cores
        self.methods = tuple(name for name in METHODS if callable(getattr(estimator, name, None)))
        self.warnings = tuple(notes)
        self._features: int | None = getattr(estimator, "n_features_in_", None)
        names = getattr(estimator, "feature_names_in_", None)
        self._names: tuple[str, ...] | None = None if names is None else tuple(str(name) for name in names)
        self._frame: Callable[..., Any] | None = None if self._names is None else _data_frame()
        self._text = estimators.takes_text(estimator)
        self.signature = estimators.signature(estimator, self.methods)
        if "sklearn" in sys.modules:
            inturn.install()
            repeated.answer_at_once(estimator)
            plainarrays.install()

    @property
    def estimator(self) -> Any:
        """The fitted estimator itself."""
        return self._estimator

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Floats stay what they are, other numbers become float64, text and mixed rows objects."""
        if inputs.names is not None and not is_one_array(inputs, self._names, text=self._text):
            return Tensors(in_order(self._names, inputs.names, inputs.arrays), self._names)
        rows = inputs.arrays[0]
        if self._features is not None:
            check_features(rows, self._features, self._names)
        kind = rows.dtype.kind
        if kind in "iub":
            return Tensors((rows.astype(np.float64),))
        if kind == "f":
            return Tensors((rows,)) if inputs.names is not None else inputs
        return Tensors((self._objects(rows),))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        threads_pay = self._cores > 1 and len(inputs) >= LARGE_BATCH_ROWS
        try:
            with inturn.in_turn(only_processes=threads_pay):
                result = getattr(self._estimator, method)(self._as_input(inputs))
        except (ValueError, TypeError) as error:
            if type(error).__name__ == "NotFittedError":
                raise ModelFailed("the model is not fitted; fit it before it is saved") from error
            raise refused(first_line(error)) from error
        except AttributeError as error:
            # What a text model says of numbers. Elsewhere a missing attribute is the model's own fault.
            if self._features is None and inputs.arrays[0].dtype != object:
                raise InputRejected('the model refused the input; it takes text, as in {"data": ["a text"]}') from error
            raise
        return _as_tensors(result, len(inputs))

    def _as_input(self, inputs: Tensors) -> Any:
        if self._frame is None:
            return inputs.arrays[0]
        if inputs.names is None:
            frame = self._frame(inputs.arrays[0], columns=self._names)
            return frame.infer_objects() if inputs.arrays[0].dtype == object else frame
        return self._frame(dict(zip(inputs.names, inputs.arrays, strict=True)))

    def _objects(self, rows: Array) -> Array:
        """Return text, and what is mixed with numbers, with str for bytes; a text model's texts along one axis."""
        if self._text and rows.ndim == 2 and rows.shape[1] == 1:
            rows = rows.reshape(-1)
        if rows.dtype.kind != "O":
            rows = rows.astype(object)
        return decoded(rows, estimators.INPUT)


def load(path: Path, options: LoadOptions) -> SklearnModel:
    """Load the model file at or in `path`. Raises a StartupError that names the cause."""
    file = find_model_file(path, SUFFIXES)
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        skops = file.suffix == ".skops"
        estimator = pickles.read_skops(file, options) if skops else pickles.read_pickle(file)
    # After the load, since only libraries that are there can be told.
    limit_loaded_libraries(options.cores)
    if not callable(getattr(estimator, "predict", None)):
        kind = type(estimator)
        raise ModelInvalid(
            f"{file.name} holds a {kind.__module__}.{kind.__qualname__}, which has no predict; "
            "save the fitted estimator or pipeline itself"
        )
    notes = pickles.version_notes(file, [warning.message for warning in caught])
    return SklearnModel(estimator, notes, options.cores)


def _data_frame() -> Callable[..., Any]:
    try:
        import pandas as pd
    except ImportError:
        raise FrameworkMissing(
            "this model was fitted on named columns and needs the Python package pandas, which this image does not have"
        ) from None
    frame: Callable[..., Any] = pd.DataFrame
    return frame


def _as_tensors(result: Any, rows: int) -> Tensors:
    parts = result if isinstance(result, list) and result and hasattr(result[0], "shape") else [result]
    arrays = tuple(_as_array(part) for part in parts)
    check_rows(arrays, rows)
    return Tensors(arrays)


def _as_array(part: Any) -> Array:
    if hasattr(part, "toarray"):
        part = part.toarray()
    elif hasattr(part, "to_numpy"):
        part = part.to_numpy()
    return np.asarray(part)
