"""LightGBM models: the library's own answers, in each form of request, and every file that is none.

- objectives: of one number, of two classes, of several, none; early stopping; random forests; linear trees;
- columns: by name in any order, missing values, categories by value and, where the file cannot tell, by number;
- files: cut off anywhere, edited, of another version, pickles.
"""

import pickle
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from scoring_runtime.errors import InputInvalid
from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.frameworks.boosters import ROWS_FOR_THREADS
from scoring_runtime.tensors import TensorSpec
from tests.runtime.answers import by_score, by_v2, loader, refused, scored

load = loader("lightgbm")

chance = np.random.default_rng(7)
ROWS = chance.normal(size=(400, 4))
KINDS = (ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2] > 0).astype(int) + (ROWS[:, 3] > 1)
MANY = chance.normal(size=(1000, 4))
MANY[::7, 1] = np.nan
NAMES = ["age", "height", "weight", "score"]


def train(params: dict[str, Any], labels: Any, rounds: int = 8, rows: Any = ROWS, **data: Any) -> Any:
    settings = {"verbose": -1, "num_leaves": 7, "num_threads": 1, "seed": 1, **params}
    return lgb.train(settings, lgb.Dataset(rows, labels, **data), rounds)


def served(booster: Any, folder: Path, name: str = "model.txt", **options: Any) -> Any:
    booster.save_model(folder / name)
    return load(folder, **options)


@pytest.fixture(scope="module")
def binary() -> Any:
    return train({"objective": "binary"}, KINDS > 0, feature_name=NAMES)


@pytest.mark.parametrize("name", ["model.txt", "model.lgb", "model.model"])
@pytest.mark.parametrize("cores", [1, 2])
def test_the_librarys_own_answers_over_http(tmp_path: Path, make_app: Any, binary: Any, name: str, cores: int) -> None:
    app = make_app(served(binary, tmp_path, name, cores=cores), framework="lightgbm")
    own = binary.predict(MANY)
    np.testing.assert_array_equal(by_v2(app, MANY), own)
    as_float32 = MANY.astype(np.float32)
    np.testing.assert_array_equal(by_v2(app, as_float32), binary.predict(as_float32))
    rows = [[None if np.isnan(cell) else cell for cell in row] for row in MANY.tolist()]
    np.testing.assert_array_equal(by_score(app, rows), own)
    np.testing.assert_array_equal(by_v2(app, MANY, "predict_class"), own > 0.5)
    np.testing.assert_array_equal(by_v2(app, MANY, "predict_proba"), np.stack([1 - own, own], axis=1))
    for method in ("raw_score", "pred_leaf", "pred_contrib"):
        np.testing.assert_array_equal(by_v2(app, MANY, method), binary.predict(MANY, **{method: True}))


@pytest.mark.parametrize("rows", [1, 2, ROWS_FOR_THREADS - 1, ROWS_FOR_THREADS, 1000])
def test_any_number_of_rows(tmp_path: Path, binary: Any, rows: int) -> None:
    model = served(binary, tmp_path, cores=2)
    np.testing.assert_array_equal(scored(model, MANY[:rows]), binary.predict(MANY[:rows]))


CLASS_METHODS = ("predict_proba", "predict_class")


def halves(predicted: Any, data: Any) -> tuple[Any, Any]:
    return predicted - data.get_label(), np.ones(len(predicted))


@pytest.mark.parametrize(
    ("params", "labels", "methods"),
    [
        ({"objective": "regression"}, ROWS[:, 0] * 2, ()),
        ({"objective": "poisson"}, KINDS, ()),
        ({"objective": "cross_entropy"}, KINDS > 0, ()),
        ({"objective": "multiclass", "num_class": 3}, KINDS, CLASS_METHODS),
        ({"objective": "multiclassova", "num_class": 3}, KINDS, CLASS_METHODS),
        ({"objective": halves}, KINDS, ()),
        (
            {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
            KINDS > 0,
            CLASS_METHODS,
        ),
        ({"objective": "binary", "boosting": "dart"}, KINDS > 0, CLASS_METHODS),
        ({"objective": "regression", "linear_tree": True}, ROWS[:, 0] * 2, ()),
    ],
)
def test_objectives_and_boosters(tmp_path: Path, params: dict[str, Any], labels: Any, methods: Any) -> None:
    booster = train(params, labels)
    model = served(booster, tmp_path)
    # The sums of a loaded model are those of the file's decimal numbers.
    booster = lgb.Booster(model_file=tmp_path / "model.txt")
    assert model.methods == ("predict", *methods, "raw_score", "pred_leaf", "pred_contrib")
    own = booster.predict(MANY)
    np.testing.assert_array_equal(scored(model, MANY), own)
    described = {spec.name: spec for spec in model.signature.outputs}
    assert described["predict"] == TensorSpec("predict", own.dtype.name, (-1, *own.shape[1:]))
    for method in ("raw_score", "pred_leaf", "pred_contrib"):
        if params.get("linear_tree") and method == "pred_contrib":
            continue
        expected = booster.predict(MANY, **{method: True})
        np.testing.assert_array_equal(scored(model, MANY, method=method), expected)
        assert described[method].dtype == expected.dtype.name
    if "num_class" in params:
        found = scored(model, MANY, method="predict_class")
        np.testing.assert_array_equal(found, own.argmax(axis=1))
        np.testing.assert_array_equal(scored(model, MANY, method="predict_proba"), own)


def test_the_best_iterations_of_early_stopping(tmp_path: Path) -> None:
    """They are all that the file has."""
    labels = KINDS > 0
    data = lgb.Dataset(ROWS[:200], labels[:200])
    booster = lgb.train(
        {"objective": "binary", "verbose": -1, "learning_rate": 0.9, "num_threads": 1}, data, 80,
        valid_sets=[lgb.Dataset(ROWS[200:], labels[200:], reference=data)],
        callbacks=[lgb.early_stopping(3, verbose=False)], keep_training_booster=True,
    )  # fmt: skip
    assert booster.best_iteration < booster.current_iteration()
    np.testing.assert_array_equal(scored(served(booster, tmp_path), MANY), booster.predict(MANY))


def test_the_classes_of_the_scikit_learn_interface(tmp_path: Path) -> None:
    estimator = lgb.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(ROWS, KINDS)
    model = served(estimator.booster_, tmp_path)
    np.testing.assert_array_equal(scored(model, MANY, method="predict_proba"), estimator.predict_proba(MANY))
    np.testing.assert_array_equal(scored(model, MANY, method="predict_class"), estimator.predict(MANY))


def test_columns_by_name(tmp_path: Path, make_app: Any, binary: Any) -> None:
    model = served(binary, tmp_path)
    assert model.signature.inputs == tuple(TensorSpec(name, "float64", (-1,)) for name in NAMES)
    own = binary.predict(MANY)
    order = [2, 0, 3, 1]
    names = tuple(NAMES[at] for at in order)
    np.testing.assert_array_equal(scored(model, *(MANY[:, at] for at in order), names=names), own)
    app = make_app(model, framework="lightgbm")
    records = [dict(zip(names, row, strict=True)) for row in MANY[1:7, order].tolist()]
    np.testing.assert_array_equal(by_score(app, records), own[1:7])
    with pytest.raises(InputInvalid, match="columns age, height, weight, score; missing: score; unexpected: id"):
        scored(model, *(MANY[:, 0] for _ in range(4)), names=("age", "height", "weight", "id"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1.0, 2.0, 3.0]], r"expects 4 features a row \(age, height, weight, score\); got 3"),
        ([1.0, 2.0], "must be a list of rows of 4 features each"),
        (np.array([["1", 2, 3, 4]], object), "input age takes numbers"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, binary: Any, rows: Any, said: str) -> None:
    with pytest.raises(InputInvalid, match=said):
        scored(served(binary, tmp_path), rows)


def test_infinite_values_are_the_librarys_affair(tmp_path: Path, binary: Any) -> None:
    rows = np.array([[np.inf, 0, 1e300, -np.inf]])
    np.testing.assert_array_equal(scored(served(binary, tmp_path), rows), binary.predict(rows))


PEOPLE = pd.DataFrame(
    {"age": ROWS[:, 0], "city": pd.Categorical(chance.choice(["Bonn", "Köln", "Ulm"], len(ROWS))),
     "size": pd.Categorical(chance.choice([10, 20, 30], len(ROWS)))}
)  # fmt: skip
LABELS = PEOPLE["city"].cat.codes * 2 + PEOPLE["size"].cat.codes
OF_CATEGORIES = {"objective": "regression", "min_data_per_group": 5, "cat_smooth": 1, "max_cat_to_onehot": 2}


def test_categories_by_value(tmp_path: Path) -> None:
    booster = train(OF_CATEGORIES, LABELS, rows=PEOPLE)
    own = booster.predict(PEOPLE)
    assert len(set(own)) > 8
    model = served(booster, tmp_path)
    assert (model.warnings, [spec.dtype for spec in model.signature.inputs]) == ((), ["float64", "object", "float64"])
    cities, sizes = PEOPLE["city"].astype(object).to_numpy(), PEOPLE["size"].astype(int).to_numpy()
    names = ("city", "size", "age")
    np.testing.assert_array_equal(scored(model, cities, sizes, ROWS[:, 0], names=names), own)
    as_bytes = np.array([city.encode() for city in cities], object)
    np.testing.assert_array_equal(scored(model, as_bytes, sizes.astype(float), ROWS[:, 0], names=names), own)
    mixed = np.array(
        [[float(age), city, int(size)] for age, city, size in zip(ROWS[:, 0], cities, sizes, strict=True)], object
    )
    np.testing.assert_array_equal(scored(model, mixed), own)
    # What LightGBM makes of a value that it has not seen, and of none.
    unseen = PEOPLE[:2].assign(city=pd.Categorical(["Paris", None]))
    mixed[0, 1], mixed[1, 1] = "Paris", None
    np.testing.assert_array_equal(scored(model, mixed[:2]), booster.predict(unseen))
    mixed[0, 1] = ["Paris"]
    with pytest.raises(InputInvalid, match="a category is one value"):
        scored(model, mixed)


def test_categories_that_cannot_be_told_apart(tmp_path: Path) -> None:
    """Of an ordered column the file has the values, and does not say that it has."""
    ordered = PEOPLE.assign(size=PEOPLE["size"].cat.as_ordered())
    booster = train(OF_CATEGORIES, LABELS, rows=ordered)
    model = served(booster, tmp_path)
    (warning,) = model.warnings
    assert "was trained on 2 columns of categories and its trees use 1" in warning
    codes = np.column_stack([ROWS[:, 0], ordered["city"].cat.codes, ordered["size"].cat.codes])
    np.testing.assert_array_equal(scored(model, codes), booster.predict(ordered))
    with pytest.raises(InputInvalid, match="input city takes numbers"):
        scored(model, ROWS[:1, 0], np.array(["Bonn"], object), np.array([10]), names=("age", "city", "size"))


@pytest.mark.parametrize(
    ("name", "content", "reason", "said"),
    [
        ("model.txt", b"", "ModelInvalid", "is empty"),
        ("model.txt", b'{"error": "AccessDenied"}', "ModelInvalid", "is JSON text"),
        ("model.txt", b"<html>Sign in</html>", "ModelInvalid", "is a web page"),
        ("model.txt", b"only notes about the model", "ModelInvalid", "its first line is not `tree`"),
        ("model.txt", b"tree\nversion=v4\n", "ModelInvalid", "has no tree"),
        ("model.pkl", b"x", "ModelNotFound", "is a pickled estimator, which framework sklearn reads"),
        ("model.onnx", b"x", "ModelNotFound", "no model file (.txt, .lgb or .model)"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, name: str, content: bytes, reason: str, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    found, message = refused(load, tmp_path)
    assert (found, said in message) == (reason, True), message


def test_pickled_estimators_are_scikit_learns(tmp_path: Path) -> None:
    estimator = lgb.LGBMRegressor(n_estimators=2, verbose=-1, n_jobs=1).fit(ROWS, ROWS[:, 0])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    assert "in an image that has lightgbm too" in refused(load, tmp_path)[1]
    assert load_model("sklearn", tmp_path, LoadOptions()).methods == ("predict",)


def test_files_that_are_cut_off(tmp_path: Path, binary: Any) -> None:
    """LightGBM itself ends the process at most of these."""
    binary.save_model(tmp_path / "model.txt")
    whole = (tmp_path / "model.txt").read_bytes()
    end = whole.index(b"end of trees")
    for length in (1, 4, 5, 50, *range(300, end, 401), end - 1, end, end + 5):
        (tmp_path / "model.txt").write_bytes(whole[:length])
        assert refused(load, tmp_path)[0] == "ModelInvalid", length
    for wrong in (whole.replace(b"split_feature", b"split", 1), whole.replace(b"tree_sizes=", b"tree_lengths=")):
        (tmp_path / "model.txt").write_bytes(wrong)
        reason, message = refused(load, tmp_path)
        assert (reason, "is cut off, or it was edited" in message) == ("ModelInvalid", True), message


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (
            (b"version=v4", b"version=v9"),
            "ModelIncompatible",
            "which reads up to 4; use an image with a newer LightGBM",
        ),
        ((b"objective=binary", b"objective=nonsense"), "ModelInvalid", "not a model that LightGBM"),
    ],
)
def test_models_of_another_version(
    tmp_path: Path, binary: Any, change: tuple[bytes, bytes], reason: str, said: str
) -> None:
    binary.save_model(tmp_path / "model.txt")
    (tmp_path / "model.txt").write_bytes((tmp_path / "model.txt").read_bytes().replace(*change))
    found, message = refused(load, tmp_path)
    assert (found, said in message, lgb.__version__ in message) == (reason, True, True), message


def test_larger_than_the_memory(tmp_path: Path, binary: Any) -> None:
    binary.save_model(tmp_path / "model.txt")
    assert refused(load, tmp_path, memory_limit_bytes=10)[0] == "ModelTooLarge"
