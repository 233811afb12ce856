"""scikit-learn models, saved with joblib, pickle or skops.

Loading a .joblib or .pkl runs code that the file brings; `docs/model-safety.md` says what follows from that.

scikit-learn itself is imported by what the file holds, which takes seconds; a file that is no model is told before.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scoring_runtime.errors import (
    FrameworkMissing,
    InputInvalid,
    InputRejected,
    ModelFailed,
    ModelIncompatible,
    ModelInvalid,
    ModelTooLarge,
    StartupError,
)
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.modelfile import check_content, check_memory, find_model_file, looks_like_text
from scoring_runtime.tensors import Array, Signature, Tensors

SUFFIXES = (".joblib", ".pkl", ".pickle", ".skops")
METHODS = ("predict", "predict_proba", "decision_function")

# When an attribute or module of these is missing, the model was saved by another version of it.
_VERSIONED = frozenset({"sklearn", "numpy", "scipy", "pandas", "joblib", "_loss"})
_SAVED_WITH = re.compile(rb"_sklearn_version.{0,8}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)


class SklearnModel:
    """One fitted estimator or pipeline."""

    platform = "sklearn"
    signature = Signature()

    def __init__(self, estimator: Any, notes: Sequence[str] = ()) -> None:
        self._estimator = estimator
        self.methods = tuple(name for name in METHODS if callable(getattr(estimator, name, None)))
        self.warnings = tuple(notes)
        self._features: int | None = getattr(estimator, "n_features_in_", None)
        names = getattr(estimator, "feature_names_in_", None)
        self._names: tuple[str, ...] | None = None if names is None else tuple(str(name) for name in names)
        self._frame: Callable[..., Any] | None = None if self._names is None else _data_frame()

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Numbers become float64; text and mixed rows stay objects."""
        if inputs.names is not None:
            return self._ordered(inputs, inputs.names)
        rows = inputs.arrays[0]
        if self._features is not None:
            _check_features(rows, self._features, self._names)
        if rows.dtype.kind in "fiub" and rows.dtype != np.float64:
            return Tensors((rows.astype(np.float64),))
        return inputs

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        try:
            result = getattr(self._estimator, method)(self._as_input(inputs))
        except (ValueError, TypeError) as error:
            if type(error).__name__ == "NotFittedError":
                raise ModelFailed("the model is not fitted; fit it before it is saved") from error
            raise InputRejected(f"the model refused the input: {_first_line(error)}") from error
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

    def _ordered(self, inputs: Tensors, given: tuple[str, ...]) -> Tensors:
        if self._names is None:
            raise InputInvalid('this model was fitted without column names; send rows as {"data": [[…], …]}')
        columns = dict(zip(given, inputs.arrays, strict=True))
        missing = [name for name in self._names if name not in columns]
        unexpected = [name for name in given if name not in self._names]
        if missing or unexpected:
            faults = [f"missing: {', '.join(missing)}"] if missing else []
            faults += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
            raise InputInvalid(f"the model expects the columns {', '.join(self._names)}; {'; '.join(faults)}")
        return Tensors(tuple(columns[name] for name in self._names), self._names)


def load(path: Path, options: LoadOptions) -> SklearnModel:
    """Load the model file at or in `path`. Raises a StartupError that names the cause."""
    file = find_model_file(path, SUFFIXES)
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    import threadpoolctl  # type: ignore[import-untyped]

    # The BLAS and OpenMP pools of numpy and scikit-learn would otherwise take every core of the node.
    threadpoolctl.threadpool_limits(limits=options.cores)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = _read_skops(file, options) if file.suffix == ".skops" else _read_pickle(file)
    if not callable(getattr(estimator, "predict", None)):
        kind = type(estimator)
        raise ModelInvalid(
            f"{file.name} holds a {kind.__module__}.{kind.__qualname__}, which has no predict; "
            "save the fitted estimator or pipeline itself"
        )
    return SklearnModel(estimator, _version_notes(file, [warning.message for warning in caught]))


def _read_pickle(file: Path) -> Any:
    import joblib

    try:
        return joblib.load(file)
    except MemoryError:
        raise ModelTooLarge(f"{file.name} does not fit the memory; raise resources.limits.memory") from None
    except Exception as error:
        raise _explained(file, error) from error


def _explained(file: Path, error: Exception) -> StartupError:
    """Return the StartupError for what unpickling raised, by cause."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package not in _VERSIONED:
            return FrameworkMissing(
                f"{file.name} needs the Python package {package}, which this image does not have; "
                "use an image with that package added"
            )
        return _incompatible(file, error)
    if isinstance(error, AttributeError):
        if "__main__" in str(error):
            return ModelIncompatible(
                f"{file.name} uses a class or function of the script that saved it ({_first_line(error)}); "
                "move it into a package that the image has, or export without it"
            )
        return _incompatible(file, error)
    if looks_like_text(file):
        return ModelInvalid(f"{file.name} is text, not a pickled model")
    if "unsupported pickle protocol" in str(error):
        return ModelIncompatible(f"{file.name} was pickled by a newer Python: {_first_line(error)}")
    if _saved_with(file) not in (None, _installed()):
        return _incompatible(file, error)
    return ModelInvalid(
        f"{file.name} is not a joblib or pickle file, or it is damaged ({type(error).__name__}: {_first_line(error)})"
    )


def _incompatible(file: Path, error: Exception) -> ModelIncompatible:
    wanted = _saved_with(file) or "another version"
    return ModelIncompatible(
        f"{file.name} was saved with scikit-learn {wanted} and this image has {_installed()}, "
        f"which cannot read it ({_first_line(error)}); train it again with {_installed()}, "
        f"or use an image with scikit-learn {wanted}"
    )


def _installed() -> str:
    return version("scikit-learn")


def _saved_with(file: Path) -> str | None:
    """Return the scikit-learn version that an uncompressed pickle names, without unpickling it."""
    with file.open("rb") as stream:
        overlap = b""
        while chunk := stream.read(1 << 20):
            found = _SAVED_WITH.search(overlap + chunk)
            if found:
                return found[1].decode()
            overlap = chunk[-64:]
    return None


def _read_skops(file: Path, options: LoadOptions) -> Any:
    try:
        from skops import io as skops_io
    except ImportError:
        raise FrameworkMissing(f"{file.name} needs the Python package skops, which this image does not have") from None
    try:
        unknown = set(skops_io.get_untrusted_types(file=file)) - set(options.trusted_types)
        if not unknown:
            return skops_io.load(file, trusted=list(options.trusted_types))
    except MemoryError:
        raise ModelTooLarge(f"{file.name} does not fit the memory; raise resources.limits.memory") from None
    except ModuleNotFoundError as error:
        raise _explained(file, error) from error
    except Exception as error:
        raise ModelInvalid(f"{file.name} is not a skops file, or it is damaged ({_first_line(error)})") from error
    raise ModelInvalid(
        f"{file.name} holds types that are not trusted: {', '.join(sorted(unknown))}; "
        "if you trust them, name them in SCORING_TRUSTED_TYPES"
    )


def _version_notes(file: Path, caught: Sequence[Warning | str]) -> list[str]:
    # The attribute is that of sklearn.exceptions.InconsistentVersionWarning.
    found = {str(getattr(warning, "original_sklearn_version", "")) for warning in caught} - {""}
    return [
        f"{file.name} was saved with scikit-learn {saved_with} and is read by {_installed()}; "
        "its results may differ: train it again, or use an image with its version"
        for saved_with in sorted(found)
    ]


def _check_features(rows: Array, features: int, names: tuple[str, ...] | None) -> None:
    if rows.ndim != 2:
        got = "a list of values" if rows.ndim == 1 else f"{rows.ndim} levels of lists"
        raise InputInvalid(f'"data" must be a list of rows of {features} features each, [[…], …]; got {got}')
    if rows.shape[1] != features:
        called = f" ({', '.join(names)})" if names is not None else ""
        raise InputInvalid(f"the model expects {features} features a row{called}; got {rows.shape[1]}")


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
    for array in arrays:
        if array.ndim == 0 or len(array) != rows:
            got = "a single value" if array.ndim == 0 else f"{len(array)} results"
            raise ModelFailed(f"the model returned {got} for {rows} rows")
    return Tensors(arrays)


def _as_array(part: Any) -> Array:
    if hasattr(part, "toarray"):
        part = part.toarray()
    elif hasattr(part, "to_numpy"):
        part = part.to_numpy()
    return np.asarray(part)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
