"""Running scikit-learn's parallel loops in turn, on the thread that scores.

A forest of 100 trees, a FeatureUnion and a ColumnTransformer hand their parts to joblib, even with n_jobs=1. For a
batch of the usual size joblib costs more than the work: 1 row and 100 trees take 8.6 ms with it and 2.6 ms without,
and with n_jobs=-1, which models are often saved with, 32 ms, since joblib starts its threads or even processes anew
for each call. So a batch of few rows runs the same calls one after another. The calls are the library's own, in its
own order, which is what n_jobs=1 does; the answers are the same to the last bit.

Large batches are left to joblib where it would use threads. Processes are never started to score.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_state = threading.local()
_patching = threading.Lock()


def install() -> None:
    """Make scikit-learn's `Parallel` obey `in_turn`. Does nothing to other threads, and nothing the second time."""
    from sklearn.utils.parallel import Parallel

    with _patching:
        if getattr(Parallel, "_scoring_in_turn", False):
            return
        Parallel.__call__ = _obeying(Parallel.__call__)
        Parallel._scoring_in_turn = True


@contextmanager
def in_turn(*, only_processes: bool) -> Iterator[None]:
    """Run the parallel loops of this thread in turn; with `only_processes`, only those that would start processes."""
    _state.wanted = "processes" if only_processes else "all"
    try:
        yield
    finally:
        _state.wanted = ""


def _obeying(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(parallel: Any, iterable: Iterable[Any]) -> Any:
        wanted = getattr(_state, "wanted", "")
        if not wanted or (wanted == "processes" and _with_threads(parallel)) or parallel.return_as != "list":
            return original(parallel, iterable)
        # `delayed` wraps each function in one that sets this thread's configuration, which is set already.
        return [getattr(task, "function", task)(*args, **kwargs) for task, args, kwargs in iterable]

    return call


def _with_threads(parallel: Any) -> bool:
    return bool(getattr(parallel._backend, "supports_sharedmem", False))
