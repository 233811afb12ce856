"""`accelerate: onnx` for XGBoost and LightGBM: the library's own answers, also at each threshold.

case                                                expected
objectives, one number or several                   converted; equal classes, close values, over HTTP
values at thresholds, beside them, and near zero    the library's own answers
missing values, contributions, leaves, margins      the library answers
categories, dart, linear trees, other objectives    unconverted, with the reason
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from scoring_runtime.frameworks import LoadOptions, accelerate, load_model
from scoring_runtime.frameworks.accelerate import boosted, probes
from scoring_runtime.tensors import Tensors
from tests.runtime.answers import by_score, by_v2

chance = np.random.default_rng(11)
ROWS = chance.normal(size=(400, 4)).astype(np.float32)
KINDS = (ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2] > 0).astype(int) + (ROWS[:, 3] > 1)
MANY = chance.normal(size=(1000, 4)).astype(np.float32)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(autouse=True)
def any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a conversion pays is this machine's affair, and not of these tests. Fewer rows find the same here."""
    monkeypatch.setattr(accelerate, "times_faster", lambda *calls: 2.0)
    monkeypatch.setattr(probes, "ROWS", 500)


def train(library: str, params: dict[str, Any], labels: Any, rows: Any = ROWS) -> Any:
    if library == "xgboost":
        settings = {"verbosity": 0, "max_depth": 4, "nthread": 1, **params}
        return xgb.train(settings, xgb.DMatrix(rows, labels, enable_categorical=True), 10)
    settings = {"verbose": -1, "num_leaves": 9, "num_threads": 1, "seed": 1, **params}
    return lgb.train(settings, lgb.Dataset(rows, labels), 10)


def accelerated(library: str, booster: Any, folder: Path) -> Any:
    booster.save_model(folder / ("model.ubj" if library == "xgboost" else "model.txt"))
    return load_model(library, folder, LoadOptions(device="cpu", accelerate="onnx"))


def own_of(library: str, booster: Any, rows: Any, **wanted: Any) -> Any:
    return booster.predict(xgb.DMatrix(rows) if library == "xgboost" else rows, **wanted)


def score(model: Any, rows: Any, method: str = "predict") -> Any:
    return model.predict(model.prepare(Tensors((np.asarray(rows),)), method), method).arrays[0]


OBJECTIVES = [
    ("xgboost", {"objective": "binary:logistic"}, KINDS > 0),
    ("xgboost", {"objective": "reg:logistic"}, KINDS > 0),
    ("xgboost", {"objective": "multi:softprob", "num_class": 3}, KINDS),
    ("xgboost", {"objective": "multi:softmax", "num_class": 3}, KINDS),
    ("xgboost", {"objective": "reg:squarederror"}, ROWS[:, 0] * 3000 + 1e6),
    ("xgboost", {"objective": "count:poisson"}, KINDS),
    ("xgboost", {"objective": "reg:squarederror"}, ROWS[:, :2]),
    ("lightgbm", {"objective": "binary"}, KINDS > 0),
    ("lightgbm", {"objective": "binary", "sigmoid": 2.0}, KINDS > 0),
    ("lightgbm", {"objective": "multiclass", "num_class": 3}, KINDS),
    ("lightgbm", {"objective": "multiclassova", "num_class": 3}, KINDS),
    ("lightgbm", {"objective": "regression"}, ROWS[:, 0] * 3000 + 1e6),
    ("lightgbm", {"objective": "gamma"}, KINDS + 1.0),
]


@pytest.mark.parametrize(("library", "params", "labels"), OBJECTIVES)
def test_equal_answers_over_http(
    tmp_path: Path, make_app: Any, library: str, params: dict[str, Any], labels: Any
) -> None:
    booster = train(library, params, labels)
    model = accelerated(library, booster, tmp_path)
    assert model.parameters["accelerate"] == "onnx", model.parameters
    assert 0 <= model.parameters["accelerate_largest_difference"] < 1e-5
    app = make_app(model, framework=library)
    own = own_of(library, booster, MANY)
    np.testing.assert_allclose(by_v2(app, MANY), own, **CLOSE)
    np.testing.assert_allclose(by_score(app, MANY[:50].tolist()), own[:50], **CLOSE)
    if "predict_class" in model.methods:
        classes = own if "softmax" in params["objective"] else own.argmax(axis=1) if own.ndim == 2 else own > 0.5
        np.testing.assert_array_equal(by_v2(app, MANY, "predict_class"), classes)
    names = {"output_margin", "raw_score", "pred_leaf", "pred_contribs", "pred_contrib"} & set(model.methods)
    for method in names:
        np.testing.assert_array_equal(score(model, MANY, method), own_of(library, booster, MANY, **{method: True}))


@pytest.mark.parametrize(("library", "params", "labels"), [OBJECTIVES[0], OBJECTIVES[2], OBJECTIVES[7], OBJECTIVES[9]])
def test_values_at_every_threshold(tmp_path: Path, library: str, params: dict[str, Any], labels: Any) -> None:
    booster = train(library, params, labels)
    model = accelerated(library, booster, tmp_path)
    read = boosted._of_xgboost if library == "xgboost" else boosted._of_lightgbm
    trees = read(model._original)[1].trees
    assert len(trees) >= 10
    rows = []
    for tree in trees:
        for node in np.flatnonzero(tree.inner):
            at = tree.thresholds[node]
            near = np.float32(at)
            for value in (at, np.nextafter(at, -9), np.nextafter(at, 9), near, np.nextafter(near, np.float32(9))):
                row = MANY[len(rows) % len(MANY)].astype(np.float64)
                row[tree.features[node]] = value
                rows.append(row)
    given = np.array(rows, np.float32 if library == "xgboost" else np.float64)
    np.testing.assert_allclose(score(model, given), own_of(library, booster, given), **CLOSE)


def test_what_lightgbm_takes_for_zero(tmp_path: Path) -> None:
    """There a threshold beside zero is 1e-35, and a value as small is zero, on whichever side."""
    rows = np.where(chance.random((400, 2)) < 0.5, 0.0, chance.normal(size=(400, 2)))
    booster = train("lightgbm", {"objective": "regression"}, (rows[:, 0] < 0) + 2.0 * (rows[:, 1] <= 0), rows)
    model = accelerated("lightgbm", booster, tmp_path)
    assert model.parameters["accelerate"] == "onnx", model.parameters
    small = float(np.float32(1e-35))
    tiny = [0.0, -0.0, small, -small, np.nextafter(small, 1), -np.nextafter(small, 1), small / 2, -small / 2, 1e-300]
    given = np.array([[one, other] for one in tiny for other in tiny])
    np.testing.assert_allclose(score(model, given), booster.predict(given), **CLOSE)


@pytest.mark.parametrize(("library", "objective"), [("xgboost", "binary:logistic"), ("lightgbm", "binary")])
def test_missing_values_are_the_librarys(tmp_path: Path, library: str, objective: str) -> None:
    rows = np.where(chance.random(ROWS.shape) < 0.2, np.nan, ROWS)
    booster = train(library, {"objective": objective}, KINDS > 0, rows)
    model = accelerated(library, booster, tmp_path)
    given = np.where(chance.random(MANY.shape) < 0.2, np.nan, MANY).astype(np.float32)
    assert model.parameters["accelerate"] == "onnx"
    np.testing.assert_array_equal(score(model, given), own_of(library, booster, given))
    whole = given[~np.isnan(given).any(axis=1)]
    np.testing.assert_allclose(score(model, whole), own_of(library, booster, whole), **CLOSE)


def test_the_best_iterations(tmp_path: Path) -> None:
    estimator = xgb.XGBClassifier(n_estimators=60, early_stopping_rounds=3, learning_rate=0.9, n_jobs=1)
    estimator.fit(ROWS[:200], KINDS[:200] > 0, eval_set=[(ROWS[200:], KINDS[200:] > 0)], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    model = accelerated("xgboost", estimator, tmp_path)
    assert model.parameters["accelerate"] == "onnx"
    np.testing.assert_allclose(score(model, MANY, "predict_proba"), estimator.predict_proba(MANY), **CLOSE)


CITIES = pd.DataFrame({"age": ROWS[:, 0], "city": pd.Categorical(chance.choice(["Bonn", "Jena", "Ulm"], len(ROWS)))})


@pytest.mark.parametrize(
    ("library", "params", "rows", "said"),
    [
        ("xgboost", {"objective": "binary:hinge"}, ROWS, "there is no converter for the objective binary:hinge"),
        ("xgboost", {"booster": "dart"}, ROWS, "there is no converter for the booster dart"),
        ("xgboost", {}, CITIES, "categories, for which there is no converter here"),
        ("lightgbm", {"objective": "cross_entropy_lambda"}, ROWS, "there is no converter for the objective cross_en"),
        ("lightgbm", {"linear_tree": True}, ROWS, "its trees are linear"),
        ("lightgbm", {"min_data_per_group": 5, "cat_smooth": 1}, CITIES, "categories, for which there is no converter"),
        ("lightgbm", {"zero_as_missing": True}, ROWS, "zero stands for a missing value"),
        ("lightgbm", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, ROWS, "random forests"),
    ],
)
def test_what_is_not_converted(tmp_path: Path, library: str, params: dict[str, Any], rows: Any, said: str) -> None:
    labels = KINDS > 0 if rows is ROWS else CITIES["city"].cat.codes > 0
    model = accelerated(library, train(library, params, labels, rows), tmp_path)
    (warning,) = model.warnings
    assert "the model is served as it is: " in warning
    assert said in warning
    assert model.parameters == {"accelerate": "none", "accelerate_reason": warning}


def test_a_conversion_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a converter makes it that rounds LightGBM's thresholds to float32."""
    read = boosted._lightgbm_tree

    def rounded(block: str, target: int) -> Any:
        tree = read(block, target)
        return replace(tree, thresholds=tree.thresholds.astype(np.float32).astype(np.float64))

    monkeypatch.setattr(boosted, "_lightgbm_tree", rounded)
    booster = train("lightgbm", {"objective": "binary"}, KINDS > 0)
    model = accelerated("lightgbm", booster, tmp_path)
    assert "predict of the converted model differs for" in model.warnings[0]
    np.testing.assert_array_equal(score(model, MANY), booster.predict(MANY))


def test_images_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr(accelerate, "import_module", missing)
    model = accelerated("xgboost", train("xgboost", {}, KINDS), tmp_path)
    assert "this image has no onnx; use the one for xgboost" in model.warnings[0]
    np.testing.assert_array_equal(score(model, MANY), score(model._original, MANY))
