"""`accelerate: onnx` for scikit-learn: what is converted answers as the original does, and what is not says why.

case                                            expected
pipelines, forests, boosting, categories        converted; equal classes, close values, over HTTP, one row or many
values exactly at thresholds and beside them    the original's own answers
missing, infinite, unknown, of float32, ties    the original answers, also with its errors
a converter that is wrong, or there is none     unconverted; the reason in warnings, metadata and metrics
the sample request                              compared too
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from skl2onnx import update_registered_converter
from skl2onnx.common._registration import _converter_pool, _shape_calculator_pool
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from werkzeug.test import Client

from scoring_runtime.app import OPERATIONS
from scoring_runtime.errors import InputRejected
from scoring_runtime.frameworks import LoadOptions, accelerate
from scoring_runtime.frameworks.accelerate import agreement, conversion, inputs, pipelines, probes
from scoring_runtime.frameworks.sklearn import SklearnModel
from scoring_runtime.tensors import Tensors
from tests.runtime.answers import by_score, by_v2

FEATURES, SPECIES = load_iris(return_X_y=True)
chance = np.random.default_rng(3)
MANY = np.concatenate([FEATURES, FEATURES + chance.normal(size=FEATURES.shape), chance.normal(size=(100, 4)) * 50])


@pytest.fixture(autouse=True)
def any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a conversion pays is this machine's affair, and not of these tests. Fewer rows find the same here."""
    monkeypatch.setattr(accelerate, "times_faster", lambda *calls: 2.0)
    for module in (probes, inputs):
        monkeypatch.setattr(module, "ROWS", 500)


def accelerated(estimator: Any, **options: Any) -> Any:
    return accelerate.accelerated("sklearn", SklearnModel(estimator), LoadOptions(accelerate="onnx", **options))


def score(model: Any, *arrays: Any, names: tuple[str, ...] | None = None, method: str = "predict") -> Any:
    given = Tensors(tuple(np.asarray(array) for array in arrays), names)
    return model.predict(model.prepare(given, method), method).arrays[0]


@contextmanager
def only_converted(model: Any) -> Iterator[list[int]]:
    """Note how many rows the original answers meanwhile."""
    asked: list[int] = []
    own = model._original.predict

    def predict(inputs: Tensors, method: str) -> Tensors:
        asked.append(len(inputs))
        return own(inputs, method)

    model._original.predict = predict
    try:
        yield asked
    finally:
        del model._original.predict


NUMBERS: dict[str, Callable[[], Any]] = {
    "scaler and logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "of two classes": lambda: make_pipeline(MinMaxScaler(), LogisticRegression()),
    "imputer and forest": lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(20, random_state=0)),
    "scaled forest": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=10, random_state=0),
    "forest of numbers": lambda: RandomForestRegressor(20, random_state=0),
    "boosted numbers": lambda: GradientBoostingRegressor(n_estimators=10, random_state=0),
    "ridge": lambda: make_pipeline(StandardScaler(), Ridge()),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_equal_answers_over_http(make_app: Any, kind: str) -> None:
    labels = (SPECIES == 1).astype(int) if kind == "of two classes" else SPECIES
    estimator = NUMBERS[kind]().fit(FEATURES, labels)
    model = accelerated(estimator)
    difference = model.parameters.pop("accelerate_largest_difference")
    assert 0 <= difference <= agreement.TOLERANCE
    assert (model.parameters, model.warnings) == ({"accelerate": "onnx", "accelerate_times_faster": 2.0}, ())
    app = make_app(model)
    with only_converted(model) as asked:
        found = [by_v2(app, MANY, method) for method in ("predict", "predict_proba")[: len(model.methods)]]
        by_json = by_score(app, MANY.tolist())
        one = [by_score(app, [row])[0] for row in MANY[::40].tolist()]
    # One row says what type its answers have; beside it only ties are asked for.
    assert max(asked, default=0) < len(MANY) // 4
    own = estimator.predict(MANY)
    if own.dtype.kind == "f":
        np.testing.assert_allclose(found[0], own, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(by_json, own, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one, own[::40], rtol=1e-5, atol=1e-5)
        return
    np.testing.assert_array_equal(found[0], own)
    np.testing.assert_array_equal(by_json, own)
    np.testing.assert_array_equal(one, own[::40])
    np.testing.assert_allclose(found[1], estimator.predict_proba(MANY), atol=1e-5)


@pytest.mark.parametrize("kind", ["imputer and forest", "scaled forest"])
def test_values_at_thresholds(kind: str) -> None:
    estimator = NUMBERS[kind]().fit(FEATURES, SPECIES)
    model = accelerated(estimator)
    tree = estimator[-1].estimators_[0].tree_
    inner = np.flatnonzero(tree.children_left >= 0)
    feature, threshold = tree.feature[inner], tree.threshold[inner]
    if kind == "scaled forest":
        threshold = threshold * estimator[0].scale_[feature] + estimator[0].mean_[feature]
    near = np.float32(threshold)
    rows = []
    for values in (threshold, np.nextafter(threshold, -9), np.nextafter(threshold, 9), near, np.nextafter(near, 9)):
        made = np.resize(FEATURES, (len(inner), 4)).copy()
        made[np.arange(len(inner)), feature] = values
        rows.append(made)
    given = np.concatenate(rows)
    np.testing.assert_array_equal(score(model, given), estimator.predict(given))
    found = score(model, given, method="predict_proba")
    np.testing.assert_allclose(found, estimator.predict_proba(given), atol=1e-5)


def test_float32_is_left_to_the_original_where_that_computes_in_float32() -> None:
    """A scaler does, and a tree behind it may branch another way then."""
    estimator = NUMBERS["scaled forest"]().fit(FEATURES, SPECIES)
    model = accelerated(estimator)
    rows = MANY.astype(np.float32)
    with only_converted(model) as asked:
        found = score(model, rows, method="predict_proba")
    assert asked == [len(rows)]
    np.testing.assert_array_equal(found, estimator.predict_proba(rows))


@pytest.mark.parametrize("classes", [["a", "bb", "ccc"], [10, 20, 30], [False, True, True]])
def test_classes_of_any_type(classes: list[Any]) -> None:
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(FEATURES, np.array(classes)[SPECIES])
    model = accelerated(estimator)
    found, own = score(model, MANY), estimator.predict(MANY)
    assert (model.parameters["accelerate"], found.dtype) == ("onnx", own.dtype)
    np.testing.assert_array_equal(found, own)


PEOPLE = pd.DataFrame({
    "age": chance.integers(18, 80, 200).astype(float), "city": chance.choice(["Bonn", "Jena", "Ulm"], 200),
    "size": chance.choice([1, 2, 3], 200),
})  # fmt: skip
BUYS = ((PEOPLE["age"] > 40) & (PEOPLE["city"] == "Bonn") | (PEOPLE["size"] == 2)).astype(int)


@pytest.fixture(scope="module", params=[LogisticRegression, RandomForestClassifier])
def people(request: pytest.FixtureRequest) -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(), ["city", "size"]), (make_pipeline(SimpleImputer(), StandardScaler()), ["age"])
    )
    return make_pipeline(columns, request.param(random_state=0)).fit(PEOPLE, BUYS)


def test_columns_with_categories(make_app: Any, people: Any) -> None:
    model = accelerated(people)
    assert model.parameters["accelerate"] == "onnx", model.parameters
    table = {"city": PEOPLE["city"].astype(object), "size": PEOPLE["size"], "age": PEOPLE["age"]}
    with only_converted(model) as asked:
        found = score(model, *table.values(), names=tuple(table), method="predict_proba")
        records = PEOPLE[:20].to_dict("records")
        classes = by_score(make_app(model), records)
    assert max(asked, default=0) < len(PEOPLE) // 4
    np.testing.assert_allclose(found, people.predict_proba(PEOPLE), atol=1e-5)
    assert classes == people.predict(PEOPLE[:20]).tolist()


def test_what_the_conversion_does_not_know_is_the_originals(people: Any) -> None:
    model = accelerated(people)
    names = ("age", "city", "size")
    missing = PEOPLE[:1].assign(age=np.nan)
    found = score(model, [np.nan], PEOPLE["city"][:1].to_numpy(object), [PEOPLE["size"][0]], names=names)
    np.testing.assert_array_equal(found, people.predict(missing))
    with pytest.raises(InputRejected, match=r"unknown categories \['Paris'\]"):
        score(model, [30.0], np.array(["Paris"], object), [1], names=names)
    with pytest.raises(InputRejected, match="unknown categories"):
        score(model, [30.0], np.array(["Bonn"], object), [7], names=names)


def test_errors_are_the_originals() -> None:
    model = accelerated(NUMBERS["scaler and logistic regression"]().fit(FEATURES, SPECIES))
    for value, said in ((np.nan, "Input X contains NaN"), (np.inf, "Input X contains infinity")):
        with pytest.raises(InputRejected, match=said):
            score(model, [[1, 2, 3, value]])


def test_other_methods_are_the_originals() -> None:
    estimator = NUMBERS["scaler and logistic regression"]().fit(FEATURES, SPECIES)
    model = accelerated(estimator)
    assert model.methods == ("predict", "predict_proba", "decision_function")
    own = estimator.decision_function(MANY)
    np.testing.assert_array_equal(score(model, MANY, method="decision_function"), own)


def test_ties_are_decided_by_the_original() -> None:
    """Two trees that do not agree: rounding would choose the class."""
    estimator = RandomForestClassifier(2, random_state=1, max_depth=1).fit(FEATURES[:100, :2], SPECIES[:100])
    model = accelerated(estimator)
    rows = chance.normal(size=(300, 2)) * 5
    shares = estimator.predict_proba(rows)
    ties = np.abs(shares[:, 0] - shares[:, 1]) < 1e-9
    if not ties.any():
        estimator.estimators_[1].tree_.value[:] = estimator.estimators_[0].tree_.value[:, :, ::-1]
        shares = estimator.predict_proba(rows)
    with only_converted(model) as asked:
        np.testing.assert_array_equal(score(model, rows), estimator.predict(rows))
    assert sum(asked) >= int((np.abs(shares[:, 0] - shares[:, 1]) < 1e-9).sum())


@pytest.mark.parametrize(("factor", "largest"), [(1, 0), (1 + 4e-6, 4e-6), (1 + 4e-4, None)])
def test_by_how_much_values_differ(factor: float, largest: float | None) -> None:
    model = NUMBERS["ridge"]().fit(FEATURES, SPECIES)
    rows = Tensors((np.asarray(FEATURES),))
    own = model.predict(FEATURES)

    class Scaled:
        def run(self, inputs: Tensors, method: str) -> conversion.Answer:
            return conversion.Answer(own * factor)

    found = agreement.compared(SklearnModel(model), cast("conversion.Conversion", Scaled()), "predict", [rows])
    assert (found.disagreement is None) == (largest is not None)
    if largest is not None:
        # As a share of the value and of how far the values are spread.
        expected = (np.abs(own) * largest / (np.abs(own) + own.std())).max()
        assert found.largest == pytest.approx(expected, abs=1e-12)


def test_rows_do_not_depend_on_their_batch() -> None:
    model = accelerated(NUMBERS["gradient boosting"]().fit(FEATURES, SPECIES))
    together = score(model, MANY[:64], method="predict_proba")
    for at in (0, 7, 63):
        np.testing.assert_array_equal(score(model, MANY[at : at + 1], method="predict_proba")[0], together[at])


def assert_unconverted(model: Any, said: str) -> None:
    reason = model.parameters["accelerate_reason"]
    assert model.parameters["accelerate"] == "none"
    assert model.warnings == (reason,)
    assert said in reason
    assert "\n" not in reason


class Doubling(RegressorMixin, BaseEstimator):
    """An estimator of the user's own."""

    def fit(self, rows: Any, labels: Any) -> Any:
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows)[:, 0] * 2


def test_no_converter() -> None:
    model = accelerated(Doubling().fit(FEATURES, SPECIES))
    assert_unconverted(model, "the model is served as it is: there is no converter for ")
    assert "Doubling" in model.warnings[0]
    np.testing.assert_array_equal(score(model, MANY), MANY[:, 0] * 2)


@pytest.fixture
def wrong_converter() -> Iterator[None]:
    """A converter for Doubling that multiplies with 2.001."""

    def shapes(operator: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType

        operator.outputs[0].type = DoubleTensorType([None, 1])

    def convert(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.algebra.onnx_ops import OnnxMul, OnnxSlice

        version = container.target_opset
        number = np.array([2.001])
        ends = [np.array([value], np.int64) for value in (0, 1, 1)]
        first = OnnxSlice(operator.inputs[0], *ends, op_version=version)
        OnnxMul(first, number, op_version=version, output_names=operator.outputs).add_to(scope, container)

    update_registered_converter(Doubling, "Doubling", shapes, convert)
    yield
    _converter_pool.pop("Doubling")
    _shape_calculator_pool.pop("Doubling")
    from skl2onnx._supported_operators import sklearn_operator_name_map

    del sklearn_operator_name_map[Doubling]


@pytest.mark.usefixtures("wrong_converter")
def test_a_converter_that_is_wrong(make_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = accelerated(Doubling().fit(FEATURES, SPECIES))
    assert_unconverted(model, "predict of the converted model differs for")
    app = make_app(model)
    assert any("differs for" in record.message for record in caplog.records if record.levelname == "WARNING")
    np.testing.assert_array_equal(by_v2(app, MANY), MANY[:, 0] * 2)
    shown = app.test_client().get("/v2/models/model").get_json()
    assert shown["parameters"] == {"accelerate": "none", "accelerate_reason": model.warnings[0]}
    assert Client(app.extensions[OPERATIONS]).get("/model").get_json() == {"models": [{"parameters": model.parameters}]}
    metrics = app.test_client().get("/metrics").text
    assert "scoring_model_times_faster 0.0" in metrics
    assert "scoring_model_warnings 1.0" in metrics


def test_thresholds_that_float32_does_not_have() -> None:
    """skl2onnx keeps these of histogram-based boosting in float32 only: just beside them rows go the other way."""
    estimator = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(FEATURES + 1 / 3, SPECIES)
    model = accelerated(estimator)
    assert_unconverted(model, "predict of the converted model gives other classes for")
    np.testing.assert_array_equal(score(model, MANY, method="predict_proba"), estimator.predict_proba(MANY))


@pytest.mark.parametrize("vectorizer", [TfidfVectorizer(), CountVectorizer(lowercase=False)])
def test_texts(vectorizer: Any) -> None:
    """Converted or not: the words are told apart as the original does, or it answers itself."""
    texts = ["good day", "bad day", "gutes Frühstück", "schlechtes Frühstück"] * 5
    estimator = make_pipeline(vectorizer, LogisticRegression()).fit(texts, [1, 0, 1, 0] * 5)
    model = accelerated(estimator)
    if model.parameters["accelerate"] == "none":
        assert_unconverted(model, "the model is served as it is: ")
    given = np.array(["Good day!", "bad-day", "frühstück gutes", "goodüday", "", "x bad y"], object)
    np.testing.assert_array_equal(score(model, given), estimator.predict(given))


def test_several_targets_are_not_converted() -> None:
    targets = np.stack([SPECIES, SPECIES == 1], axis=1)
    model = accelerated(RandomForestClassifier(3, random_state=0).fit(FEATURES, targets))
    assert_unconverted(model, "it has several targets")


def test_a_conversion_that_is_slower_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate, "times_faster", lambda *calls: 0.25)
    model = accelerated(NUMBERS["ridge"]().fit(FEATURES, SPECIES))
    assert_unconverted(model, "one row takes 4.0 times as long when it is converted")


def test_the_sample_request_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that is right for all rows but that of the sample."""
    estimator = NUMBERS["ridge"]().fit(FEATURES, SPECIES)
    session = conversion.cpu_session
    sample = np.array([[1.25, 2.5, 3.75, 5.0]])

    class AllButTheSample:
        def __init__(self, content: bytes, cores: int) -> None:
            self._session = session(content, cores)
            self.get_outputs = self._session.get_outputs

        def run(self, names: Any, fed: Any) -> Any:
            (rows,) = fed.values()
            (found,) = self._session.run(names, fed)
            return [np.where((rows == sample).all(axis=1, keepdims=True), 0, found)]

    monkeypatch.setattr(pipelines, "cpu_session", AllButTheSample)
    assert accelerated(estimator).parameters["accelerate"] == "onnx"
    model = accelerated(estimator, sample=(Tensors((sample,)), ""))
    assert_unconverted(model, "predict of the converted model differs for 1 of 1 rows")
