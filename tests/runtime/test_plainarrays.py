"""scikit-learn's checks of plain arrays: the same result, refusal and warning as the library's own give.

arrays                                                      questions
floats of both widths, in both orders, read-only            copy, writeable, dtypes, finite or not, names
NaN, infinity, sums that overflow                           what the shortcut does not know: orders, signs, counts
other axes, none at all, integers, objects, big-endian      settings: assume_finite, array_api_dispatch
subclasses, frames, sparse matrices, lists
"""

import itertools
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.utils import _array_api, validation

from scoring_runtime.frameworks import plainarrays

ROWS = np.arange(12.0).reshape(4, 3) - 5


class Own(np.ndarray):
    """A subclass, of which nothing is known."""


def changed(array: Any, row: int, column: int, value: float) -> Any:
    copy = array.copy()
    copy[row, column] = value
    return copy


def read_only(array: Any) -> Any:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


ARRAYS: dict[str, Any] = {
    "float64": ROWS,
    "float32": ROWS.astype(np.float32),
    "columns first": np.asfortranarray(ROWS),
    "every other row": ROWS[::2],
    "read-only": read_only(ROWS),
    "one number": ROWS[:1, :1],
    "NaN": changed(ROWS, 1, 1, np.nan),
    "infinite": changed(ROWS, 3, 2, np.inf),
    "both infinities": changed(changed(ROWS, 0, 0, -np.inf), 3, 2, np.inf),
    "a sum that overflows": np.full((2, 2), 3e38, np.float32),
    "one axis": ROWS[0],
    "three axes": ROWS.reshape(2, 2, 3),
    "no rows": ROWS[:0],
    "no columns": ROWS[:, :0],
    "float16": ROWS.astype(np.float16),
    "big-endian": ROWS.astype(">f8"),
    "integers": ROWS.astype(int),
    "complex": ROWS.astype(complex),
    "objects": ROWS.astype(object),
    "texts": ROWS.astype(str),
    "subclass": ROWS.view(Own),
    "matrix": ROWS.view(np.matrix),
    "frame": pd.DataFrame(ROWS, columns=["a", "b", "c"]),
    "sparse": scipy.sparse.csr_matrix(ROWS),
    "list": ROWS.tolist(),
}
ASKED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "what a scaler asks": {
        "copy": True, "dtype": (np.dtype("f8"), np.dtype("f4")), "force_writeable": True, "accept_sparse": "csr",
        "ensure_all_finite": "allow-nan", "estimator": LogisticRegression(), "input_name": "X",
    },
    "what a linear model asks": {"accept_sparse": "csr", "estimator": LogisticRegression(), "input_name": "X"},
    "anything": {"ensure_all_finite": False, "dtype": None},
    "writeable": {"force_writeable": True},
    "what forests ask": {"dtype": np.float32},
    "a name of a dtype": {"dtype": "float32"},
    "others": {"dtype": [np.int64]},
    "narrow ones": {"dtype": [np.float32, np.float64]},
    "an order": {"order": "F"},
    "no signs": {"ensure_non_negative": True},
    "more rows": {"ensure_min_samples": 5},
    "more columns": {"ensure_min_features": 4},
    "any axes": {"ensure_2d": False, "allow_nd": True},
    "nonsense": {"ensure_all_finite": "yes"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def installed() -> None:
    plainarrays.install()


def outcome(check: Any, array: Any, asked: dict[str, Any]) -> Any:
    """What a check gives: the array's content and form and whether it is the one that came in, or the error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = check(array, **asked)
        except Exception as error:
            return type(error), str(error), [str(one.message) for one in caught]
    dense = result.toarray() if scipy.sparse.issparse(result) else result
    flags = (dense.flags.c_contiguous, dense.flags.f_contiguous, dense.flags.writeable)
    same = result is array, isinstance(array, np.ndarray) and np.may_share_memory(result, array)
    return type(result), dense.dtype, dense.tobytes(), dense.shape, flags, same, [str(one.message) for one in caught]


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_check_array(array: Any) -> None:
    for asked, assume in itertools.product(ASKED.values(), (False, True)):
        with config_context(assume_finite=assume):
            expected = outcome(validation.check_array._scoring_original, array, asked)
            assert outcome(validation.check_array, array, asked) == expected, asked


def test_other_array_libraries_are_left_to_scikit_learn() -> None:
    with config_context(array_api_dispatch=False):
        assert validation.check_array(ROWS) is ROWS
        # What is set without scikit-learn's function is seen, too, and refused where SciPy is not told of it.
        sys.modules["sklearn._config"]._get_threadlocal_config()["array_api_dispatch"] = True
        expected = outcome(validation.check_array._scoring_original, ROWS, {})
        assert expected[0] is RuntimeError
        assert outcome(validation.check_array, ROWS, {}) == expected
        with pytest.raises(RuntimeError):
            _array_api.get_namespace(ROWS)


def test_settings_are_those_of_the_thread() -> None:
    seen: list[Any] = []
    bad = ARRAYS["NaN"]

    def other() -> None:
        seen.append(outcome(validation.check_array, bad, {})[0])

    with config_context(assume_finite=True):
        assert validation.check_array(bad) is bad
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [ValueError]
    assert outcome(validation.check_array, bad, {})[0] is ValueError


def test_what_is_an_array() -> None:
    a, b = ROWS, ROWS[:2]
    assert [id(one) for one in _array_api._remove_non_arrays(a, b)] == [id(a), id(b)]
    mixed = [a, None, "text", [1], ARRAYS["sparse"], ARRAYS["frame"], ARRAYS["subclass"]]
    assert [type(one) for one in _array_api._remove_non_arrays(*mixed)] == [np.ndarray, Own]
    assert _array_api._remove_non_arrays(None, a, remove_none=False)[0] is None
    assert _array_api._remove_non_arrays() == []


def test_installing_again_changes_nothing() -> None:
    before = validation.check_array, _array_api._remove_non_arrays
    plainarrays.install()
    assert before == (validation.check_array, _array_api._remove_non_arrays)
    assert not hasattr(validation.check_array._scoring_original, "_scoring_original")
