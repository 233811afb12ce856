"""scikit-learn models: every way to save one, every kind of result, and every file that is none.

A bad model is a real file, made here; each must be refused with the reason that the operator shows and a sentence that
says what is wrong.
"""

import gzip
import json
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from skops import io as skops_io

from scoring_runtime.errors import InputInvalid, InputRejected, ModelFailed, StartupError
from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.frameworks.sklearn import LARGE_BATCH_ROWS, SklearnModel
from scoring_runtime.protocols.azure import decode, encode
from scoring_runtime.tensors import Tensors

FEATURES, SPECIES = load_iris(return_X_y=True)


def fitted() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(FEATURES, SPECIES)


def score(model: SklearnModel, body: dict, method: str = "predict") -> Any:
    """Through decoding, checks, the model and encoding, as a request goes."""
    call = decode(json.dumps(body).encode(), "")
    return json.loads(encode(model.predict(model.prepare(call.inputs, method), method), call))


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("model.joblib", joblib.dump),
        ("model.pkl", lambda model, path: path.write_bytes(pickle.dumps(model))),
        ("model.pickle", lambda model, path: path.write_bytes(pickle.dumps(model, protocol=0))),
        ("model.joblib", lambda model, path: joblib.dump(model, path, compress=3)),
        ("whatever.skops", skops_io.dump),
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_formats(tmp_path: Path, name: str, save: Callable[[Any, Path], object], as_file: bool) -> None:
    model = fitted()
    save(model, tmp_path / name)
    (tmp_path / "README.md").write_text("about")
    loaded = load_model("sklearn", tmp_path / name if as_file else tmp_path, LoadOptions())
    assert score(loaded, {"data": FEATURES[::10].tolist()}) == model.predict(FEATURES[::10]).tolist()
    assert loaded.methods == ("predict", "predict_proba", "decision_function")
    assert loaded.warnings == ()


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_methods(method: str) -> None:
    model = fitted()
    answer = score(SklearnModel(model), {"data": FEATURES[:5].tolist()}, method)
    np.testing.assert_allclose(answer, getattr(model, method)(FEATURES[:5]))


def test_a_model_has_the_methods_that_it_has() -> None:
    assert SklearnModel(LinearRegression().fit(FEATURES, SPECIES)).methods == ("predict",)
    assert SklearnModel(SVC().fit(FEATURES, SPECIES)).methods == ("predict", "decision_function")


def test_text_models() -> None:
    texts = ["good day", "bad day", "good food", "bad food"]
    model = SklearnModel(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0]))
    assert score(model, {"data": ["good music", "bad music"]}) == [1, 0]
    with pytest.raises(InputRejected, match="takes text"):
        score(model, {"data": [1, 2]})


PEOPLE = pd.DataFrame({"age": [20, 30, 40, 50], "city": ["Bonn", "Ulm", "Bonn", "Ulm"]})


@pytest.fixture(scope="module")
def people() -> SklearnModel:
    """A model fitted on a table, which predicts the city from the table, columns by name."""
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), (StandardScaler(), ["age"]))
    return SklearnModel(make_pipeline(columns, LogisticRegression()).fit(PEOPLE, [0, 1, 0, 1]))


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"age": 25, "city": "Bonn"}, {"age": 35, "city": "Ulm"}]},
        {"data": [{"city": "Bonn", "age": 25}, {"city": "Ulm", "age": 35.5}]},
        {"columns": ["city", "age"], "data": [["Bonn", 25], ["Ulm", 35]]},
        {"data": [[25, "Bonn"], [35, "Ulm"]]},
    ],
)
def test_named_columns_in_any_order(people: SklearnModel, body: dict) -> None:
    assert score(people, body) == [0, 1]


def test_plain_numbers_for_a_model_with_names() -> None:
    table = pd.DataFrame(FEATURES, columns=["a", "b", "c", "d"])
    model = SklearnModel(make_pipeline(StandardScaler(), LogisticRegression()).fit(table, SPECIES))
    assert score(model, {"data": FEATURES[:2].tolist()}) == [0, 0]
    with pytest.raises(InputInvalid, match=r"expects 4 features a row \(a, b, c, d\); got 3"):
        score(model, {"data": [[1, 2, 3]]})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["age"], "the model expects the columns age, city; missing: city"),
        (["age", "town"], "missing: city; unexpected: town"),
        (["age", "city", "id"], "unexpected: id"),
    ],
)
def test_wrong_columns(people: SklearnModel, columns: list[str], said: str) -> None:
    with pytest.raises(InputInvalid, match=said):
        score(people, {"columns": columns, "data": [[1] * len(columns)]})


def test_several_outputs() -> None:
    targets = np.stack([SPECIES, SPECIES == 1], axis=1)
    model = SklearnModel(MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(FEATURES, targets))
    assert score(model, {"data": FEATURES[:2].tolist()}) == [[0, 0], [0, 0]]
    first, second = score(model, {"data": FEATURES[:2].tolist()}, "predict_proba")
    assert (np.shape(first), np.shape(second)) == ((2, 3), (2, 2))


def test_labels_that_are_text() -> None:
    model = SklearnModel(LogisticRegression(max_iter=500).fit(FEATURES, np.array(["a", "b", "c"])[SPECIES]))
    assert score(model, {"data": FEATURES[[0, 149]].tolist()}) == ["a", "c"]


class Answers:
    """An estimator that answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, rows: Any) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (csr_matrix([[1, 0], [0, 2]]), [[1, 0], [0, 2]]),
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
        (pd.DataFrame({"a": [1, 2]}), [[1], [2]]),
        (["x", "y"], ["x", "y"]),
        (np.array([1, np.nan]), [1, None]),
    ],
)
def test_kinds_of_results(answer: Any, expected: Any) -> None:
    assert score(SklearnModel(Answers(answer)), {"data": [[1], [2]]}) == expected


@pytest.mark.parametrize("answer", [np.array([1, 2, 3]), np.float64(3), 5])
def test_results_that_do_not_fit_the_rows(answer: Any) -> None:
    with pytest.raises(ModelFailed, match="for 2 rows"):
        score(SklearnModel(Answers(answer)), {"data": [[1], [2]]})


def test_a_model_that_was_never_fitted() -> None:
    with pytest.raises(ModelFailed, match="not fitted"):
        score(SklearnModel(LogisticRegression()), {"data": [[1.0]]})


def refused(path: Path, **options: Any) -> tuple[str, str]:
    with pytest.raises(StartupError) as raised:
        load_model("sklearn", path, LoadOptions(**options))
    assert "\n" not in raised.value.message
    return raised.value.reason, raised.value.message


@pytest.mark.parametrize(
    ("name", "content", "reason", "said"),
    [
        ("model.joblib", b"", "ModelInvalid", "model.joblib is empty"),
        ("model.pkl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "ModelInvalid", "Git LFS pointer"),
        ("model.pkl", b"\n<!DOCTYPE html><html><body>Sign in</body>", "ModelInvalid", "is a web page"),
        ("model.pkl", b'{"error": "AccessDenied"}', "ModelInvalid", "is JSON text"),
        ("model.pkl", b"these are only notes about the model", "ModelInvalid", "is text"),
        ("model.pkl", b"\x00\x01\x02" * 100, "ModelInvalid", "not a joblib or pickle file"),
        ("model.pkl", pickle.dumps(list(range(1000)))[:-50], "ModelInvalid", "damaged"),
        ("model.joblib", gzip.compress(b"nothing", mtime=0), "ModelInvalid", "not a joblib or pickle file"),
        ("model.pkl", pickle.dumps({"model": 1}), "ModelInvalid", "builtins.dict, which has no predict"),
        ("model.pkl", b"\x80\x63K\x01.", "ModelIncompatible", "a newer Python"),
        ("model.skops", b"no archive", "ModelInvalid", "is not a skops file"),
        ("model.onnx", b"x", "ModelNotFound", "no model file (.joblib, .pkl, .pickle or .skops)"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, name: str, content: bytes, reason: str, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    found, message = refused(tmp_path)
    assert (found, said in message) == (reason, True), message


def test_no_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == ("ModelNotFound", f"{tmp_path}/no does not exist")


def test_an_empty_folder_and_a_folder_in_a_folder(tmp_path: Path) -> None:
    assert "it holds nothing" in refused(tmp_path)[1]
    (tmp_path / "iris").mkdir()
    assert "it holds iris" in refused(tmp_path)[1]


def test_several_candidates(tmp_path: Path) -> None:
    joblib.dump(fitted(), tmp_path / "a.joblib")
    (tmp_path / "b.pkl").write_bytes(b"x")
    reason, message = refused(tmp_path)
    assert (reason, "2 files" in message, "a.joblib, b.pkl" in message) == ("ModelNotFound", True, True)
    (tmp_path / "a.joblib").rename(tmp_path / "model.joblib")
    assert load_model("sklearn", tmp_path, LoadOptions()).methods
    (tmp_path / "b.pkl").rename(tmp_path / "model.pkl")
    assert "model.joblib, model.pkl" in refused(tmp_path)[1]


def test_a_model_of_another_framework_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    assert refused(tmp_path / "model.pt")[0] == "ModelNotFound"


def test_larger_than_the_memory(tmp_path: Path) -> None:
    joblib.dump(fitted(), tmp_path / "model.joblib")
    reason, message = refused(tmp_path, memory_limit_bytes=1000)
    assert (reason, "raise resources.limits.memory" in message) == ("ModelTooLarge", True)


class _OutOfMemory:
    def __reduce__(self) -> tuple:
        return bytearray, (1 << 62,)


def test_memory_runs_out_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_OutOfMemory()))
    assert refused(tmp_path)[0] == "ModelTooLarge"


def pickled_class(module: str, name: str) -> bytes:
    """Return a pickle of an object of a class that exists now and not when it is read."""
    made = types.ModuleType(module)
    sys.modules[module] = made
    try:
        made.__dict__[name] = type(name, (), {"__module__": module})
        return pickle.dumps(made.__dict__[name]())
    finally:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("module", "name", "reason", "said"),
    [
        ("boosted_trees", "Model", "FrameworkMissing", "needs the Python package boosted_trees"),
        ("sklearn_gone", "Model", "FrameworkMissing", "needs the Python package sklearn_gone"),
        ("sklearn.ensemble.forest", "Forest", "ModelIncompatible", f"this image has {sklearn.__version__}"),
        ("sklearn.gone", "Thing", "ModelIncompatible", "another version"),
    ],
)
def test_missing_modules(tmp_path: Path, module: str, name: str, reason: str, said: str) -> None:
    (tmp_path / "model.pkl").write_bytes(pickled_class(module, name))
    found, message = refused(tmp_path)
    assert (found, said in message) == (reason, True), message


def test_a_class_of_the_script_that_saved_it(tmp_path: Path) -> None:
    main = sys.modules["__main__"]
    main.MyModel = type("MyModel", (), {"__module__": "__main__"})  # type: ignore[attr-defined]
    try:
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(main.MyModel()))  # type: ignore[attr-defined]
    finally:
        del main.MyModel  # type: ignore[attr-defined]
    reason, message = refused(tmp_path)
    assert (reason, "MyModel" in message, "move it into a package" in message) == ("ModelIncompatible", True, True)


def test_a_class_that_a_library_no_longer_has(tmp_path: Path) -> None:
    data = pickle.dumps(LogisticRegression(max_iter=500).fit(FEATURES, SPECIES))
    (tmp_path / "model.pkl").write_bytes(data.replace(b"LogisticRegression", b"LogisticXegression"))
    reason, message = refused(tmp_path)
    assert reason == "ModelIncompatible"
    assert f"saved with scikit-learn {sklearn.__version__}" in message


def other_version(model: Any, version: str) -> bytes:
    """Return the pickle of a model as an older scikit-learn of a version of the same length would name itself."""
    data = pickle.dumps(model)
    assert len(version) == len(sklearn.__version__)
    assert sklearn.__version__.encode() in data
    return data.replace(sklearn.__version__.encode(), version.encode())


def test_another_version_that_works_is_a_warning(tmp_path: Path) -> None:
    version = "0.0.1"
    (tmp_path / "model.pkl").write_bytes(other_version(fitted(), version))
    model = load_model("sklearn", tmp_path, LoadOptions())
    assert score(model, {"data": FEATURES[:1].tolist()}) == [0]
    (warning,) = model.warnings
    assert f"saved with scikit-learn {version} and is read by {sklearn.__version__}" in warning


def test_another_version_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    forest = RandomForestClassifier(n_estimators=1).fit(FEATURES, SPECIES)
    data = other_version(forest, "0.0.1").replace(b"impurity", b"xmpurity")
    (tmp_path / "model.pkl").write_bytes(data)
    reason, message = refused(tmp_path)
    assert reason == "ModelIncompatible"
    assert f"saved with scikit-learn 0.0.1 and this image has {sklearn.__version__}" in message


class Home:
    """A type that skops does not know."""

    def predict(self, rows: Any) -> Any:
        return np.zeros(len(rows))


def test_skops_refuses_types_that_are_not_trusted(tmp_path: Path) -> None:
    skops_io.dump(Home(), tmp_path / "model.skops")
    unknown = f"{Home.__module__}.Home"
    reason, message = refused(tmp_path)
    assert (reason, unknown in message, "SCORING_TRUSTED_TYPES" in message) == ("ModelInvalid", True, True)
    reason, message = refused(tmp_path, trusted_types=("other.Type",))
    assert reason == "ModelInvalid"


def test_skops_loads_types_that_are_trusted(tmp_path: Path) -> None:
    skops_io.dump(Home(), tmp_path / "model.skops")
    model = load_model("sklearn", tmp_path, LoadOptions(trusted_types=(f"{Home.__module__}.Home",)))
    assert score(model, {"data": [[1], [2]]}) == [0, 0]


def test_prepared_numbers_are_floats_so_that_requests_share_batches() -> None:
    model = SklearnModel(fitted())
    prepared = [
        model.prepare(decode(body, "").inputs, "predict")
        for body in (b'{"data": [[1,2,3,4]]}', b'{"data": [[1.5,2,3,4]]}', b'{"data": [[true,true,false,true]]}')
    ]
    assert len({inputs.signature for inputs in prepared}) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_given_to_the_model_as_they_came(dtype: Any) -> None:
    """The answer is what the library says of the very array that the client sent."""
    rows, model = FEATURES.astype(dtype), fitted()
    served = SklearnModel(model)
    for names in (None, ("input-0",), ("any",)):
        prepared = served.prepare(Tensors((rows,), names), "predict_proba")
        assert np.shares_memory(prepared.arrays[0], rows)
        result = served.predict(prepared, "predict_proba").arrays[0]
        np.testing.assert_array_equal(result, model.predict_proba(rows))


def test_bytes_are_text() -> None:
    texts = ["good day", "bad day", "gutes Frühstück", "bad food"]
    model = SklearnModel(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0]))
    sent = np.array([text.encode() for text in texts], dtype=object)
    for rows in (sent, sent.reshape(-1, 1), np.array(texts)):
        prepared = model.prepare(Tensors((rows,), ("text",)), "predict")
        assert model.predict(prepared, "predict").arrays[0].tolist() == [1, 0, 1, 0]
    with pytest.raises(InputInvalid, match="not UTF-8"):
        model.prepare(Tensors((np.array([b"\xff"], dtype=object),)), "predict")


def test_columns_of_bytes_and_of_one_value_in_a_list(people: SklearnModel) -> None:
    ages, cities = np.array([[25], [35]]), np.array([[b"Bonn"], [b"Ulm"]], dtype=object)
    prepared = people.prepare(Tensors((cities, ages), ("city", "age")), "predict")
    assert people.predict(prepared, "predict").arrays[0].tolist() == [0, 1]
    with pytest.raises(InputInvalid, match=r"column age must have one value for each row; got the shape \[2, 2\]"):
        people.prepare(Tensors((cities, np.ones((2, 2))), ("city", "age")), "predict")


def described(estimator: Any) -> tuple[list[Any], list[Any]]:
    signature = SklearnModel(estimator).signature
    return [[(spec.name, spec.dtype, spec.shape) for spec in specs] for specs in (signature.inputs, signature.outputs)]


NUMBERS = [("input-0", "float64", (-1, 4))]
TARGETS = np.stack([SPECIES, SPECIES == 1], axis=1)
WORDS = ["good day", "bad day", "good food"]


@pytest.mark.parametrize(
    ("make", "inputs", "outputs"),
    [
        (
            fitted,
            NUMBERS,
            [
                ("predict", "int64", (-1,)),
                ("predict_proba", "float64", (-1, 3)),
                ("decision_function", "float64", (-1, 3)),
            ],
        ),
        (lambda: LinearRegression().fit(FEATURES, SPECIES), NUMBERS, [("predict", "float64", (-1,))]),
        (lambda: LinearRegression().fit(FEATURES, TARGETS), NUMBERS, [("predict", "float64", (-1, 2))]),
        (
            lambda: SVC(decision_function_shape="ovo").fit(FEATURES, np.array(["a", "b", "c"])[SPECIES]),
            NUMBERS,
            [("predict", "object", (-1,)), ("decision_function", "float64", (-1, 3))],
        ),
        (
            lambda: RandomForestClassifier(2).fit(FEATURES, TARGETS),
            NUMBERS,
            [
                ("predict", "int64", (-1, 2)),
                ("predict_proba_0", "float64", (-1, 3)),
                ("predict_proba_1", "float64", (-1, 2)),
            ],
        ),
        (
            lambda: LogisticRegression().fit(FEATURES, SPECIES == 1),
            NUMBERS,
            [
                ("predict", "bool", (-1,)),
                ("predict_proba", "float64", (-1, 2)),
                ("decision_function", "float64", (-1,)),
            ],
        ),
        (
            lambda: IsolationForest(n_estimators=2).fit(FEATURES),
            NUMBERS,
            [("predict", "int64", (-1,)), ("decision_function", "float64", (-1,))],
        ),
        (lambda: KMeans(2, n_init=1).fit(FEATURES), NUMBERS, [("predict", "int32", (-1,))]),
        (
            lambda: make_pipeline(TfidfVectorizer(), RandomForestRegressor(2)).fit(WORDS, [1, 0, 1]),
            [("input-0", "object", (-1,))],
            [("predict", "float64", (-1,))],
        ),
        (
            lambda: LinearRegression().fit(pd.DataFrame({"a": [1, 2], "b": [0, 1]}), [1, 2]),
            [("a", "", (-1,)), ("b", "", (-1,))],
            [("predict", "float64", (-1,))],
        ),
    ],
)
def test_what_a_model_says_of_itself(make: Any, inputs: Any, outputs: Any) -> None:
    estimator = make()
    assert described(estimator) == [inputs, outputs]
    rows = WORDS if inputs[0][1] == "object" else FEATURES[:, : len(inputs) if len(inputs) > 1 else 4]
    given = pd.DataFrame(rows, columns=["a", "b"]) if len(inputs) > 1 else rows
    for name, dtype, shape in outputs:
        found = getattr(estimator, name.removesuffix("_0").removesuffix("_1"))(given)
        found = np.asarray(found[int(name[-1])] if isinstance(found, list) else found)
        assert found.dtype == dtype or (dtype == "object" and found.dtype.kind == "U")
        assert found.shape[1:] == shape[1:]


@pytest.mark.parametrize("n_jobs", [None, 1, -1])
@pytest.mark.parametrize("rows", [1, 7, LARGE_BATCH_ROWS])
def test_forests_answer_the_same_without_joblib(n_jobs: int | None, rows: int) -> None:
    forest = RandomForestClassifier(20, random_state=0).fit(FEATURES, SPECIES)
    given = np.resize(FEATURES, (rows, 4))
    expected = forest.predict_proba(given)
    forest.n_jobs = n_jobs
    served = SklearnModel(forest, cores=2)
    result = served.predict(served.prepare(Tensors((given,)), "predict_proba"), "predict_proba").arrays[0]
    if n_jobs == -1 and rows == LARGE_BATCH_ROWS:
        # joblib's threads add up the trees in any order.
        np.testing.assert_allclose(result, expected, rtol=1e-12)
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("rows", [3, LARGE_BATCH_ROWS])
def test_processes_are_never_started_to_score(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ColumnTransformer saved with n_jobs=2 would start processes, each of which imports everything anew."""
    columns = make_column_transformer((StandardScaler(), [0, 1]), (StandardScaler(), [2, 3]), n_jobs=2)
    expected = columns.fit_transform(np.resize(FEATURES, (rows, 4)))
    model = make_pipeline(columns, LogisticRegression()).fit(FEATURES, SPECIES)
    served = SklearnModel(model, cores=2)

    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("joblib was asked for workers")

    monkeypatch.setattr(joblib._parallel_backends.LokyBackend, "configure", start)
    given = served.prepare(Tensors((np.resize(FEATURES, (rows, 4)),)), "predict")
    assert len(served.predict(given, "predict")) == len(expected)
    with pytest.raises(AssertionError, match="asked for workers"):
        model.predict(given.arrays[0])


def test_errors_are_the_librarys_own_without_joblib() -> None:
    forest = SklearnModel(RandomForestClassifier(3, n_jobs=-1).fit(np.nan_to_num(FEATURES), SPECIES))
    infinite = Tensors((np.full((1, 4), np.inf),))
    with pytest.raises(InputRejected, match="Input X contains infinity"):
        forest.predict(infinite, "predict")


def test_a_batch_is_cut_at_the_right_rows() -> None:
    model = SklearnModel(fitted())
    result = model.predict(Tensors((FEATURES,)), "predict_proba")
    expected = fitted().predict_proba(FEATURES[10:20])
    np.testing.assert_allclose(result.slice(10, 20).arrays[0], expected)
