"""scikit-learn's checks of what a request most often holds: rows of floats, as an array that is exactly NumPy's.

Each step of a pipeline looks at its input for all that it might be: a frame, a sparse matrix, a tensor on a GPU, text.
For a plain array the answer is known, and finding it takes a third of `predict` of a scaler and a logistic regression,
most of it in code that a busy server has not in its caches. So `check_array` goes straight to what could be wrong with
a plain array, a number that is not finite, and leaves everything else, every refusal too, to the library.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np

_VALIDATION, _NAMESPACES = "sklearn.utils.validation", "sklearn.utils._array_api"
# What can be asked of a plain array without changing more than whether it is copied.
_PLAIN = frozenset({
    "accept_large_sparse", "accept_sparse", "allow_nd", "copy", "dtype", "ensure_2d", "ensure_all_finite", "estimator",
    "force_writeable", "input_name",
})  # fmt: skip
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
_patching = threading.Lock()


def install() -> None:
    """Make scikit-learn, which is imported already, check like this. Does nothing the second time."""
    validation, namespaces = sys.modules.get(_VALIDATION), sys.modules.get(_NAMESPACES)
    settings = getattr(sys.modules.get("sklearn._config"), "_get_threadlocal_config", None)
    with _patching:
        if settings is None or hasattr(getattr(validation, "check_array", None), "_scoring_original"):
            return
        _replace(validation, "check_array", lambda original: _checking(original, settings))
        _replace(namespaces, "_remove_non_arrays", _sorting_out)
        # Both only read it. The library's own function copies it, for those who might write.
        _replace(validation, "_get_config", lambda _: settings)
        _replace(namespaces, "get_config", lambda _: settings)


def _replace(module: Any, name: str, by: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(module, name, None)
    if original is not None:
        setattr(module, name, by(original))


def _checking(original: Callable[..., Any], settings: Callable[[], Mapping[str, Any]]) -> Callable[..., Any]:
    @wraps(original)
    def check_array(array: Any, *given: Any, **asked: Any) -> Any:
        if type(array) is np.ndarray and not given and _is_plain(array, asked) and _is_good(array, asked, settings()):
            return np.array(array) if asked.get("copy") else array
        return original(array, *given, **asked)

    check_array._scoring_original = original  # type: ignore[attr-defined]
    return check_array


def _is_plain(array: np.ndarray[Any, Any], asked: Mapping[str, Any]) -> bool:
    """Whether nothing but a number that is not finite could be wrong with the array."""
    if array.ndim != 2 or not array.size or array.dtype not in _FLOATS or not asked.keys() <= _PLAIN:
        return False
    wanted = asked.get("dtype", "numeric")
    if not (array.dtype in wanted if isinstance(wanted, list | tuple) else type(wanted) is str and wanted == "numeric"):
        return False
    return bool(array.flags.writeable or asked.get("copy") or not asked.get("force_writeable"))


def _is_good(array: np.ndarray[Any, Any], asked: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    finite = asked.get("ensure_all_finite", True)
    if settings.get("array_api_dispatch") or not (finite is True or finite in (False, "allow-nan")):
        return False
    if finite is False or settings.get("assume_finite"):
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(array.sum())


def _sorting_out(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Know at once that plain arrays are arrays, whose namespace counts, when only these are given."""

    @wraps(original)
    def remove_non_arrays(*arrays: Any, **asked: Any) -> list[Any]:
        for array in arrays:
            if type(array) is not np.ndarray:
                return original(*arrays, **asked)
        return list(arrays)

    return remove_non_arrays
