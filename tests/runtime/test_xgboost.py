"""XGBoost models: the library's own answers, in each form of request, and every file that is none.

- objectives: of one number, of two classes, of several, of several targets; linear and dart boosters;
- early stopping: all trees of a Booster's file, the best ones of the scikit-learn interface's;
- columns: by name in any order, missing values, categories by value, what does not fit;
- files: each format, cut off anywhere, of another version, the old binary one, pickles.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from scoring_runtime.errors import InputInvalid
from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.frameworks.boosters import ROWS_FOR_THREADS
from scoring_runtime.tensors import TensorSpec
from tests.runtime.answers import by_score, by_v2, loader, refused, scored

load = loader("xgboost")

chance = np.random.default_rng(7)
ROWS = chance.normal(size=(400, 4)).astype(np.float32)
KINDS = (ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2] > 0).astype(int) + (ROWS[:, 3] > 1)
MANY = chance.normal(size=(1000, 4)).astype(np.float32)
MANY[::7, 1] = np.nan
NAMES = ["age", "height", "weight", "score"]


def train(params: dict[str, Any], labels: Any, rounds: int = 8, **data: Any) -> Any:
    return xgb.train(
        {"verbosity": 0, "max_depth": 3, "nthread": 1, **params}, xgb.DMatrix(ROWS, labels, **data), rounds
    )


def served(booster: Any, folder: Path, name: str = "model.ubj", **options: Any) -> Any:
    # What is called .model may be either.
    booster.save_model(folder / name.replace(".model", ".json"))
    (folder / name.replace(".model", ".json")).rename(folder / name)
    return load(folder, **options)


@pytest.fixture(scope="module")
def binary() -> Any:
    return train({"objective": "binary:logistic"}, KINDS > 0, feature_names=NAMES)


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.model"])
@pytest.mark.parametrize("cores", [1, 2])
def test_the_librarys_own_answers_over_http(tmp_path: Path, make_app: Any, binary: Any, name: str, cores: int) -> None:
    app = make_app(served(binary, tmp_path, name, cores=cores), framework="xgboost")
    data = xgb.DMatrix(MANY, feature_names=NAMES)
    own = binary.predict(data)
    np.testing.assert_array_equal(by_v2(app, MANY), own)
    np.testing.assert_array_equal(by_v2(app, MANY.astype(np.float64)), own)
    rows = [[None if np.isnan(cell) else cell for cell in row] for row in MANY.astype(float).tolist()]
    np.testing.assert_array_equal(np.array(by_score(app, rows), np.float32), own)
    np.testing.assert_array_equal(by_v2(app, MANY, "predict_class"), own > 0.5)
    np.testing.assert_array_equal(by_v2(app, MANY, "predict_proba"), np.stack([1 - own, own], axis=1))
    for method in ("output_margin", "pred_leaf", "pred_contribs"):
        np.testing.assert_array_equal(by_v2(app, MANY, method), binary.predict(data, **{method: True}))


@pytest.mark.parametrize("rows", [1, 2, ROWS_FOR_THREADS - 1, ROWS_FOR_THREADS, 1000])
def test_any_number_of_rows(tmp_path: Path, binary: Any, rows: int) -> None:
    model = served(binary, tmp_path, cores=2)
    own = binary.predict(xgb.DMatrix(MANY[:rows], feature_names=NAMES))
    np.testing.assert_array_equal(scored(model, MANY[:rows]), own)


CLASS_METHODS = ("predict_proba", "predict_class")


@pytest.mark.parametrize(
    ("params", "labels", "methods"),
    [
        ({"objective": "reg:squarederror"}, ROWS[:, 0] * 2, ()),
        ({"objective": "count:poisson"}, KINDS, ()),
        ({"objective": "reg:logistic"}, KINDS > 0, ()),
        ({"objective": "multi:softprob", "num_class": 3}, KINDS, CLASS_METHODS),
        ({"objective": "multi:softmax", "num_class": 3}, KINDS, CLASS_METHODS[1:]),
        ({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3}, KINDS > 0, CLASS_METHODS),
        ({"objective": "binary:logistic", "booster": "gblinear"}, KINDS > 0, CLASS_METHODS),
        ({"objective": "binary:logistic"}, np.stack([KINDS > 0, KINDS > 1], axis=1), ()),
        ({"objective": "reg:squarederror"}, ROWS[:, :2], ()),
    ],
)
def test_objectives_and_boosters(tmp_path: Path, params: dict[str, Any], labels: Any, methods: Any) -> None:
    booster = train(params, labels)
    model = served(booster, tmp_path)
    linear = params.get("booster") == "gblinear"
    arguments = ("output_margin", "pred_contribs") if linear else ("output_margin", "pred_leaf", "pred_contribs")
    assert model.methods == ("predict", *methods, *arguments)
    own = booster.predict(xgb.DMatrix(MANY))
    np.testing.assert_array_equal(scored(model, MANY), own)
    described = {spec.name: spec for spec in model.signature.outputs}
    assert described["predict"] == TensorSpec("predict", own.dtype.name, (-1, *own.shape[1:]))
    for method in arguments:
        expected = booster.predict(xgb.DMatrix(MANY), **{method: True})
        np.testing.assert_array_equal(scored(model, MANY, method=method), expected)
        assert described[method].dtype == expected.dtype.name
    if params["objective"].startswith("multi"):
        classes = own if own.ndim == 1 else own.argmax(axis=1)
        found = scored(model, MANY, method="predict_class")
        assert (found.dtype, described["predict_class"].dtype) == (np.int64, "int64")
        np.testing.assert_array_equal(found, classes)


def test_the_best_iterations_of_early_stopping(tmp_path: Path) -> None:
    labels = KINDS > 0
    estimator = xgb.XGBClassifier(n_estimators=60, early_stopping_rounds=3, learning_rate=0.9, n_jobs=1)
    estimator.fit(ROWS[:200], labels[:200], eval_set=[(ROWS[200:], labels[200:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    by_interface = served(estimator, tmp_path)
    np.testing.assert_array_equal(scored(by_interface, MANY, method="predict_proba"), estimator.predict_proba(MANY))
    np.testing.assert_array_equal(scored(by_interface, MANY, method="predict_class"), estimator.predict(MANY))
    booster = estimator.get_booster().copy()
    booster.set_attr(scikit_learn=None)
    np.testing.assert_array_equal(scored(served(booster, tmp_path), MANY), booster.predict(xgb.DMatrix(MANY)))


def test_columns_by_name(tmp_path: Path, make_app: Any, binary: Any) -> None:
    model = served(binary, tmp_path)
    assert model.signature.inputs == tuple(TensorSpec(name, "float32", (-1,)) for name in NAMES)
    own = binary.predict(xgb.DMatrix(MANY, feature_names=NAMES))
    order = [2, 0, 3, 1]
    names = tuple(NAMES[at] for at in order)
    np.testing.assert_array_equal(scored(model, *(MANY[:, at] for at in order), names=names), own)
    app = make_app(model, framework="xgboost")
    records = [dict(zip(names, row, strict=True)) for row in MANY[1:7, order].astype(float).tolist()]
    np.testing.assert_array_equal(np.array(by_score(app, records), np.float32), own[1:7])
    for wrong, said in (
        (("age", "height", "weight"), "the model expects the columns age, height, weight, score; missing: score"),
        (("age", "height", "weight", "id"), "missing: score; unexpected: id"),
    ):
        with pytest.raises(InputInvalid, match=said):
            scored(model, *(MANY[:, 0] for _ in wrong), names=wrong)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1.0, 2.0, 3.0]], r"expects 4 features a row \(age, height, weight, score\); got 3"),
        ([1.0, 2.0], "must be a list of rows of 4 features each"),
        (np.array([["1", 2, 3, 4]], object), "input age takes numbers"),
        ([[1.0, 2.0, 3.0, np.inf]], "takes no infinite values"),
        ([[1.0, 2.0, 3.0, 1e300]], "a value that this type does not have"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, binary: Any, rows: Any, said: str) -> None:
    with pytest.raises(InputInvalid, match=said):
        scored(served(binary, tmp_path), rows)


def test_one_feature_without_a_name(tmp_path: Path) -> None:
    booster = xgb.train({"nthread": 1}, xgb.DMatrix(ROWS[:, :1], KINDS), 3)
    model = served(booster, tmp_path)
    assert model.signature.inputs == (TensorSpec("input-0", "float32", (-1, 1)),)
    own = booster.predict(xgb.DMatrix(MANY[:, :1]))
    for given in (MANY[:, :1], MANY[:, 0], MANY[:, :1].astype(object)):
        np.testing.assert_array_equal(scored(model, given), own)
    with pytest.raises(InputInvalid, match="fitted without column names"):
        scored(model, MANY[:, 0], names=("age",))


PEOPLE = pd.DataFrame(
    {"age": ROWS[:, 0], "city": pd.Categorical(chance.choice(["Bonn", "Jena", "Ulm"], len(ROWS))),
     "size": pd.Categorical(chance.choice([10, 20, 30], len(ROWS)))}
)  # fmt: skip


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_categories_by_value(tmp_path: Path, booster: str) -> None:
    data = xgb.DMatrix(PEOPLE, PEOPLE["city"].cat.codes * 2 + PEOPLE["size"].cat.codes, enable_categorical=True)
    trained = xgb.train({"booster": booster, "nthread": 1}, data, 5)
    own = trained.predict(xgb.DMatrix(PEOPLE, enable_categorical=True))
    assert len(set(own)) > 8
    model = served(trained, tmp_path)
    assert [spec.dtype for spec in model.signature.inputs] == ["float32", "object", "float32"]
    cities, sizes = PEOPLE["city"].astype(object).to_numpy(), PEOPLE["size"].astype(int).to_numpy()
    names = ("city", "size", "age")
    np.testing.assert_array_equal(scored(model, cities, sizes, ROWS[:, 0], names=names), own)
    as_bytes = np.array([city.encode() for city in cities], object)
    np.testing.assert_array_equal(scored(model, as_bytes, sizes.astype(float), ROWS[:, 0], names=names), own)
    mixed = np.array(
        [[float(age), city, int(size)] for age, city, size in zip(ROWS[:, 0], cities, sizes, strict=True)], object
    )
    np.testing.assert_array_equal(scored(model, mixed), own)
    missing = PEOPLE[:3].assign(city=pd.Categorical([None] * 3, categories=PEOPLE["city"].cat.categories))
    mixed[:3, 1] = None
    np.testing.assert_array_equal(
        scored(model, mixed[:3]), trained.predict(xgb.DMatrix(missing, enable_categorical=True))
    )
    for value in ("Paris", 1):
        mixed[0, 1] = value
        with pytest.raises(InputInvalid, match=rf"column city has the value {value!r}, .* model: Bonn, Jena, Ulm"):
            scored(model, mixed)


def test_categories_by_number(tmp_path: Path) -> None:
    """A model that was trained on numbers of categories has nothing else to offer."""
    codes = np.column_stack([ROWS[:, 0], PEOPLE["city"].cat.codes])
    data = xgb.DMatrix(codes, PEOPLE["city"].cat.codes, feature_types=["q", "c"], enable_categorical=True)
    booster = xgb.train({"nthread": 1}, data, 3)
    np.testing.assert_array_equal(scored(served(booster, tmp_path, "model.json"), codes), booster.predict(data))


@pytest.mark.parametrize(
    ("name", "content", "reason", "said"),
    [
        ("model.json", b"", "ModelInvalid", "is empty"),
        ("model.json", b'{"error": "AccessDenied"}', "ModelInvalid", "is not an XGBoost model, or it is damaged"),
        ("model.json", b"[1, 2]", "ModelInvalid", "is not an XGBoost model"),
        ("model.ubj", b"<html>Sign in</html>", "ModelInvalid", "is a web page"),
        ("model.ubj", b"\x00\x01" * 200, "ModelInvalid", "is not an XGBoost model"),
        ("model.model", b"binf" + bytes(300), "ModelIncompatible", "old binary format, which XGBoost"),
        ("model.joblib", b"x", "ModelNotFound", "is a pickled estimator, which framework sklearn reads"),
        ("model.onnx", b"x", "ModelNotFound", "no model file (.json, .ubj or .model)"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, name: str, content: bytes, reason: str, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    found, message = refused(load, tmp_path)
    assert (found, said in message) == (reason, True), message
    assert "Stack trace" not in message


def test_pickled_estimators_are_scikit_learns(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(xgb.XGBRegressor(n_estimators=2).fit(ROWS, ROWS[:, 0])))
    for path in (file, tmp_path):
        reason, message = refused(load, path)
        assert (reason, "in an image that has xgboost too" in message) == ("ModelNotFound", True), message
    assert load_model("sklearn", file, LoadOptions()).methods == ("predict",)


@pytest.mark.parametrize("name", ["model.json", "model.ubj"])
def test_files_that_are_cut_off(tmp_path: Path, binary: Any, name: str) -> None:
    binary.save_model(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (*range(2, 40, 5), len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        assert refused(load, tmp_path)[0] == "ModelInvalid", length


def test_a_newer_version(tmp_path: Path, binary: Any) -> None:
    model = served(binary, tmp_path, "model.json")
    assert model.warnings == ()
    file = tmp_path / "model.json"
    document = json.loads(file.read_text()) | {"version": [99, 1, 0]}
    file.write_text(json.dumps(document))
    (warning,) = load(tmp_path).warnings
    assert f"saved with XGBoost 99.1.0 and is read by {xgb.__version__}" in warning
    document["learner"]["objective"]["name"] = "of:tomorrow"
    file.write_text(json.dumps(document))
    reason, message = refused(load, tmp_path)
    assert (reason, "was saved with XGBoost 99.1.0 and this image has" in message) == ("ModelIncompatible", True)


def test_the_sample_request_beside_it_is_no_model(tmp_path: Path, binary: Any) -> None:
    (tmp_path / "sample-request.json").write_text('{"data": [[1, 2, 3, 4]]}')
    assert len(scored(served(binary, tmp_path, "churn.json"), MANY)) == len(MANY)


def test_larger_than_the_memory(tmp_path: Path, binary: Any) -> None:
    binary.save_model(tmp_path / "model.ubj")
    assert refused(load, tmp_path, memory_limit_bytes=10)[0] == "ModelTooLarge"


def test_no_gpu(tmp_path: Path, binary: Any) -> None:
    if xgb.build_info()["USE_CUDA"]:
        pytest.skip("this XGBoost may find a GPU")
    own = binary.predict(xgb.DMatrix(MANY, feature_names=NAMES))
    np.testing.assert_array_equal(scored(served(binary, tmp_path, device="auto"), MANY), own)
    reason, message = refused(load, tmp_path, device="cuda")
    assert (reason, "XGBoost finds no CUDA GPU" in message) == ("ModelLoadFailed", True)
