"""What scikit-learn is not asked again: every answer, refusal and warning stays what it is without that.

case                                    expected
models of many kinds                    the same results, to the last bit
data frames, also in the wrong order    recognized, and refused, as before
arrays where names were fitted          the same warning
NaN, a wrong width                      the same refusal
NumPy's arrays and their subclasses     the former are no frames; the latter are asked about
estimators that are strange             left as they are
"""

import copy
import pickle
import warnings
from typing import Any

import joblib
import narwhals.stable.v2.dependencies as frames
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import get_tags

from scoring_runtime.frameworks.repeated import answer_at_once

X, Y = load_iris(return_X_y=True)
FRAME = pd.DataFrame(X, columns=list("abcd"))
TEXTS = ["good red wine", "bad white wine", "good beer", "bad beer", "red beer"] * 30
LOGISTIC = LogisticRegression(max_iter=500)
MODELS: list[tuple[str, Any, Any]] = [
    ("pipeline", make_pipeline(StandardScaler(), LOGISTIC), X),
    ("forest", RandomForestClassifier(10, random_state=0), X),
    ("boosted", GradientBoostingClassifier(n_estimators=5, random_state=0), X),
    ("kernel", SVC(), X),
    ("votes", VotingClassifier([("a", LOGISTIC), ("b", RandomForestClassifier(5, random_state=0))]), X),
    ("stack", StackingClassifier([("a", LOGISTIC), ("b", SVC())]), X),
    ("search", GridSearchCV(make_pipeline(StandardScaler(), LOGISTIC), {"logisticregression__C": [1, 2]}), X),
    ("union", make_pipeline(make_union(StandardScaler(), FunctionTransformer(np.abs)), LOGISTIC), X),
    ("frame", make_pipeline(make_column_transformer((StandardScaler(), ["b", "a"])), LOGISTIC), FRAME),
    ("categories", make_pipeline(OneHotEncoder(handle_unknown="ignore"), LOGISTIC), np.round(X).astype(str)),
    ("texts", make_pipeline(TfidfVectorizer(), LOGISTIC), TEXTS),
]


def outcome(model: Any, inputs: Any) -> tuple[Any, list[str]]:
    """The result or the error of `predict`, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result: Any = model.predict(inputs).tolist()
        except Exception as error:
            result = type(error), str(error)
    return result, [str(one.message) for one in caught]


@pytest.mark.parametrize(("estimator", "inputs"), [case[1:] for case in MODELS], ids=[case[0] for case in MODELS])
def test_nothing_changes(estimator: Any, inputs: Any) -> None:
    model = copy.deepcopy(estimator).fit(inputs, Y)
    treated = copy.deepcopy(model)
    answer_at_once(treated)
    asked = [inputs, inputs[:1], inputs[:0]]
    if inputs is X:
        asked += [np.full((1, 4), np.nan), X[:, :3], X[0], FRAME, FRAME[["b", "a", "c", "d"]], X.astype(object)]
    if inputs is FRAME:
        asked += [FRAME[["d", "c", "b", "a"]], FRAME.rename(columns={"a": "z"}), X, FRAME.to_numpy()[:, :2]]
    for one in asked:
        assert outcome(treated, one) == outcome(model, one)
    assert repr(get_tags(treated)) == repr(get_tags(model))


def test_names_that_were_fitted() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, Y)
    treated = copy.deepcopy(model)
    answer_at_once(treated)
    result, said = outcome(treated, X)
    assert "does not have valid feature names" in said[0]
    assert (result, said) == outcome(model, X)
    result, _ = outcome(treated, FRAME[["b", "a", "c", "d"]])
    assert result[0] is ValueError
    assert "feature names should match" in result[1]


def test_what_is_a_frame() -> None:
    answer_at_once(None)
    answer_at_once(None)
    assert frames.is_into_dataframe(FRAME)
    assert frames.is_into_series(FRAME["a"])
    assert not frames.is_into_dataframe(X)
    assert not frames.is_into_series(X)
    original = frames.is_into_dataframe._scoring_original
    assert not hasattr(original, "_scoring_original")

    class Odd(np.ndarray):
        """An array that narwhals takes for a frame of its own kind."""

        def __narwhals_dataframe__(self) -> None: ...

    odd = X.view(Odd)
    assert frames.is_into_dataframe(odd) == original(odd)


def test_strange_estimators() -> None:
    class Unknown(BaseEstimator):
        def __sklearn_tags__(self) -> Any:
            raise RuntimeError

    class Frozen(BaseEstimator):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    class Own:
        __slots__ = ()

    loop = BaseEstimator()
    loop.itself = [loop, {"again": loop}, np.array([loop, None])]
    for strange in (Unknown(), Frozen(), Own(), loop, None, 3, [Unknown()] * 20_000):
        answer_at_once(strange)
    assert get_tags(loop) is get_tags(loop)
    with pytest.raises(RuntimeError):
        get_tags(Unknown())


def test_a_treated_model_can_be_copied_and_kept(tmp_path: Any) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    answer_at_once(model)
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert outcome(again, X) == outcome(model, X)
