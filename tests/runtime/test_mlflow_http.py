"""MLflow's scoring protocol, on the real app with a real model, by every way to an answer.

| body | model fitted on arrays | model fitted on a table |
|---|---|---|
| dataframe_split, dataframe_records, CSV | columns in their order | columns by name |
| instances | rows or objects | rows or objects |
| inputs | rows | rows, or an object of columns |

Also: params, health checks, errors in MLflow's form.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask import Flask
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from werkzeug.test import TestResponse

from scoring_runtime.frameworks import Model
from scoring_runtime.frameworks.sklearn import SklearnModel
from scoring_runtime.protocols import mlflow
from scoring_runtime.protocols.call import Request

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
FRAME = pd.DataFrame(FLOWERS)
PEOPLE = pd.DataFrame({"age": [20, 30, 40, 50], "city": ["Bonn", "Ulm", "Bonn", "Ulm"]})
SOME = PEOPLE.iloc[[3, 2], ::-1]


@pytest.fixture
def app(every_way: Any, iris_model: Model) -> Flask:
    return every_way(iris_model, path_prefix="/team")


@pytest.fixture(scope="module")
def people_model() -> SklearnModel:
    columns = make_column_transformer((OneHotEncoder(), ["city"]), ("passthrough", ["age"]))
    return SklearnModel(make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(PEOPLE, [0, 1, 0, 1]))


@pytest.fixture
def people(every_way: Any, people_model: SklearnModel) -> Flask:
    return every_way(people_model)


def invoke(app: Flask, body: Any, kind: str = "application/json", path: str = "/invocations") -> TestResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return app.test_client().post(path, data=content, headers={"Content-Type": kind})


def predictions(response: TestResponse) -> Any:
    assert response.status_code == 200, response.data
    assert response.content_type == "application/json"
    assert response.get_json().keys() == {"predictions"}
    return response.get_json()["predictions"]


def refused(response: TestResponse, status: int = 400, code: str = "BAD_REQUEST") -> str:
    assert response.status_code == status, response.data
    assert response.get_json().keys() == {"error_code", "message"}
    assert response.get_json()["error_code"] == code
    return str(response.get_json()["message"])


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": json.loads(FRAME.to_json(orient="split"))},
        {"dataframe_split": {"data": FLOWERS}},
        {"dataframe_records": json.loads(FRAME.to_json(orient="records"))},
        {"instances": FLOWERS},
        {"instances": [dict(zip("abcd", row, strict=True)) for row in FLOWERS]},
        {"inputs": FLOWERS},
        {"inputs": {"a": [5.1, 6.7], "b": [3.5, 3], "c": [1.4, 5.2], "d": [0.2, 2.3]}},
        {"inputs": FLOWERS, "params": {"temperature": 1, "method": "predict"}, "client_request_id": "x"},
    ],
)
def test_json_for_a_model_without_names(app: Flask, body: dict) -> None:
    assert predictions(invoke(app, body)) == [0, 2]
    assert predictions(invoke(app, body, "application/json; charset=utf-8", "/team/invocations")) == [0, 2]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": json.loads(SOME.to_json(orient="split"))},
        {"dataframe_records": json.loads(SOME.to_json(orient="records"))},
        {"instances": json.loads(SOME.to_json(orient="records"))},
        {"inputs": SOME.to_dict(orient="list")},
        {"instances": [[50, "Ulm"], [40, "Bonn"]]},
    ],
)
def test_json_for_a_model_with_names(people: Flask, body: dict) -> None:
    assert predictions(invoke(people, body)) == [1, 0]


def test_csv(app: Flask, people: Flask) -> None:
    assert predictions(invoke(app, FRAME.to_csv(index=False).encode(), "text/csv")) == [0, 2]
    assert predictions(invoke(people, SOME.to_csv(index=False).encode(), "text/csv; charset=utf-8")) == [1, 0]
    assert "missing: city" in refused(invoke(people, b"age\n3\n", "text/csv"))


class _Anything:
    methods = ("predict",)
    platform = ""

    def __init__(self, model: SklearnModel) -> None:
        self.signature = model.signature


def test_the_types_of_csv_columns(people_model: SklearnModel) -> None:
    lines = b'\xef\xbb\xbfage,city,"a,b",whole,flag,empty,mixed\r\n1.5,"B, o",x,7,True,,1\r\n,,"y\nz",8,False,,1_0\r\n'
    inputs = mlflow.decode(Request(lines, "text/csv", {}, _Anything(people_model))).inputs
    assert inputs.names == ("age", "city", "a,b", "whole", "flag", "empty", "mixed")
    columns = dict(zip(inputs.names, inputs.arrays, strict=True))
    np.testing.assert_array_equal(columns["age"], [1.5, np.nan])
    assert columns["city"].tolist() == ["B, o", None]
    assert columns["a,b"].tolist() == ["x", "y\nz"]
    assert (columns["whole"].dtype, columns["flag"].dtype) == (np.int64, np.bool_)
    assert np.isnan(columns["empty"]).all()
    assert columns["mixed"].tolist() == ["1", "1_0"]


def test_text_models(every_way: Any) -> None:
    texts = ["good day", "bad day", "good food", "bad food"]
    model = SklearnModel(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0]))
    app = every_way(model)
    for body in ({"inputs": ["good", "bad"]}, {"dataframe_split": {"columns": ["text"], "data": [["good"], ["bad"]]}}):
        assert predictions(invoke(app, body)) == [1, 0]
    assert predictions(invoke(app, {"inputs": "good"})) == [1]
    assert predictions(invoke(app, b"text\ngood\nbad\n", "text/csv")) == [1, 0]


def test_methods(app: Flask) -> None:
    (row,) = predictions(invoke(app, {"inputs": FLOWERS[:1], "params": {"method": "predict_proba"}}))
    assert sum(row) == pytest.approx(1)


def test_health_and_version(app: Flask) -> None:
    client = app.test_client()
    for path in ("/ping", "/health"):
        assert (client.get(path).status_code, client.get(path).data) == (200, b"\n")
    assert client.get("/version").text
    assert client.get("/invocations").get_json()["error_code"] == "BAD_REQUEST"
    assert client.get("/invocations").status_code == 405


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"[1]", "must be a JSON object"),
        ({}, "exactly one of dataframe_split, dataframe_records, instances, inputs; it has none of them"),
        ({"inputs": [[1]], "instances": [[1]]}, "it has instances and inputs"),
        ({"dataframe_split": [1]}, '"dataframe_split" must be an object'),
        ({"dataframe_split": {"columns": ["a"]}}, '"dataframe_split" must be an object'),
        ({"dataframe_split": {"columns": ["a"], "data": 1}}, '"data" must be a list of rows'),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, 'there are 1 "columns"'),
        ({"dataframe_records": [[1]]}, '"dataframe_records" must be a list of objects'),
        ({"inputs": {}}, '"inputs" is empty'),
        ({"inputs": {"a": 3}}, 'column a of "inputs" must be a list'),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "column a has 1 values and column b has 2"),
        ({"inputs": None}, '"inputs" must be a list'),
        ({"inputs": FLOWERS, "params": [1]}, '"params" must be an object'),
        ({"inputs": FLOWERS, "params": {"method": "fit"}}, "no method 'fit'"),
        ({"inputs": [[1, 2]]}, "expects 4 features"),
    ],
)
def test_refusals(app: Flask, body: Any, said: str) -> None:
    assert said in refused(invoke(app, body))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "names of the columns in its first line, and at least one row"),
        (b"a,b\n", "at least one row"),
        (b"a,a\n1,2\n", "a name twice"),
        (b"a,b\n1\n", "the CSV has 2 columns, and row 0 has 1 cells"),
        (b"\xff\n1\n", "not CSV in UTF-8"),
        (b'a\n"x', "not CSV in UTF-8"),
        (b"a\n" + b"x" * 200_000, "not CSV in UTF-8"),
    ],
)
def test_csv_refusals(app: Flask, body: bytes, said: str) -> None:
    assert said in refused(invoke(app, body, "text/csv"))


def test_other_content_types(app: Flask) -> None:
    assert "send application/json or text/csv" in refused(invoke(app, b"x", "text/plain"), 415)


def test_before_the_model_is_loaded() -> None:
    from scoring_runtime.app import create_app
    from scoring_runtime.batching import Limits
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

    app = create_app(Settings(auth="none"), Serving(Limits()))
    assert app.test_client().get("/ping").status_code == 503
    response = invoke(app, {"inputs": FLOWERS})
    assert "being loaded" in refused(response, 503, "TEMPORARILY_UNAVAILABLE")
    assert response.headers["Retry-After"] == "1"
