"""Questions that scikit-learn asks at each call, though their answers cannot change while a model is served.

- Is the input a data frame? An array that is exactly NumPy's is none; to find that out takes narwhals 50 µs, several
  times a call.
- What are the estimator's tags? They follow from its class and parameters, and are made anew for each check, in each
  step of a pipeline and each tree of a forest.
- Is it fitted? To find that out takes a look at the names of all its attributes. What is fitted stays so.

For a pipeline of a scaler and a logistic regression these are more than half of `predict` (530 µs without this,
220 µs with it). The answers given here are the library's own, so what is computed, refused or warned of stays the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np

# The narwhals module that scikit-learn asks, and what it asks there.
_ASKED, _QUESTIONS = "narwhals.stable.v2.dependencies", ("is_into_dataframe", "is_into_series")
# Larger containers are vocabularies and the like, which hold no estimators.
_MAX_ELEMENTS = 10_000
_TAGS, _FITTED = "__sklearn_tags__", "__sklearn_is_fitted__"
_patching = threading.Lock()


def answer_at_once(estimator: Any) -> None:
    """Answer these questions for a fitted estimator and all that it is made of. Does nothing the second time."""
    with _patching:
        _know_arrays()
    _keep_answers(estimator, set())


def _know_arrays() -> None:
    module = sys.modules.get(_ASKED)
    for name in _QUESTIONS:
        original = getattr(module, name, None)
        if original is not None and not hasattr(original, "_scoring_original"):
            setattr(module, name, _knowing_arrays(original))


def _knowing_arrays(original: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def asked(native: Any) -> bool:
        return False if type(native) is np.ndarray else original(native)

    asked._scoring_original = original  # type: ignore[attr-defined]
    return asked


class _Kept:
    """What a method of an estimator gave."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __call__(self) -> Any:
        return self._answer


def _keep_answers(found: Any, seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    for part in _parts(found):
        _keep_answers(part, seen)
    if _is_estimator(found) and not isinstance(vars(found).get(_TAGS), _Kept):
        # One whose tags cannot be had, or kept, is asked each time.
        with suppress(Exception):
            setattr(found, _TAGS, _Kept(getattr(found, _TAGS)()))
            if _is_fitted(found):
                setattr(found, _FITTED, _Kept(True))


def _is_fitted(found: Any) -> bool:
    asked = getattr(sys.modules.get("sklearn.utils.validation"), "_is_fitted", None)
    return asked is not None and asked(found) is True


def _parts(found: Any) -> Iterable[Any]:
    if isinstance(found, list | tuple | dict) and len(found) > _MAX_ELEMENTS:
        return ()
    if isinstance(found, dict):
        return found.values()
    if isinstance(found, list | tuple):
        return found
    if isinstance(found, np.ndarray) and found.dtype == object and found.size <= _MAX_ELEMENTS:
        return list(found.flat)
    return list(vars(found).values()) if _is_estimator(found) else ()


def _is_estimator(found: Any) -> bool:
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    return base is not None and isinstance(found, base)
