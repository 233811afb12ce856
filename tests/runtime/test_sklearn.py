"""scikit-learn models: what they take, every kind of result, and what they say of themselves."""

import json
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
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

from scoring_runtime.errors import InputInvalid, InputRejected, ModelFailed
from scoring_runtime.frameworks.sklearn import LARGE_BATCH_ROWS, SklearnModel
from scoring_runtime.protocols.azure import decode, encode
from scoring_runtime.tensors import Tensors

FEATURES, SPECIES = load_iris(return_X_y=True)


def fitted() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(FEATURES, SPECIES)


def score(model: SklearnModel, body: dict, method: str = "predict") -> Any:
    """Through decoding, checks, the model and encoding, as a request goes."""
    call = decode(json.dumps(body).encode(), "")
    return json.loads(encode(model.predict(model.prepare(call.inputs, method), method), call).body)


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
