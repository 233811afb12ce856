"""KServe's V1 protocol, on the real app with a real model, by every way to an answer.

Rows, objects, bytes, methods, several outputs; the list of models and readiness; errors in the protocol's form; `GET /`
as KServe's clients expect it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask import Flask
from sklearn.linear_model import LogisticRegression
from werkzeug.test import TestResponse

from scoring_runtime.frameworks import Model
from scoring_runtime.frameworks.sklearn import SklearnModel
from scoring_runtime.tensors import Signature, Tensors, TensorSpec
from tests.runtime.models import Echo

PREDICT = "/v1/models/iris:predict"
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


@pytest.fixture
def app(every_way: Any, iris_model: Model) -> Flask:
    return every_way(iris_model, model_name="iris", root="kserve", path_prefix="/team")


def predict(app: Flask, body: Any, path: str = PREDICT, **headers: str) -> TestResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().post(path, data=content, headers={"Content-Type": "application/json"} | names)


def refused(response: TestResponse, status: int = 400) -> str:
    assert response.status_code == status, response.data
    assert response.get_json().keys() == {"error"}
    return str(response.get_json()["error"])


@pytest.mark.parametrize("path", [PREDICT, f"/team{PREDICT}"])
def test_rows(app: Flask, path: str) -> None:
    response = predict(app, {"instances": FLOWERS, "signature_name": "serving_default"}, path)
    assert (response.status_code, response.get_json()) == (200, {"predictions": [0, 2]})
    assert response.content_type == "application/json"


def test_methods(app: Flask) -> None:
    body = {"instances": FLOWERS, "parameters": {"method": "predict_proba"}}
    first, second = predict(app, body).get_json()["predictions"]
    assert sum(first) == pytest.approx(1)
    assert second[2] > 0.9


def test_models(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/").get_json() == {"status": "alive"}
    assert client.get("/v1/models").get_json() == {"models": ["iris"]}
    assert client.get("/v1/models/iris").get_json() == {"name": "iris", "ready": True}
    assert "nothing at" in refused(client.get("/v1/models/other"), 404)
    assert "nothing at" in refused(predict(app, {"instances": [[1]]}, "/v1/models/other:predict"), 404)
    assert refused(client.get(PREDICT), 405)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        ({}, 'no "instances"'),
        ({"instances": 3}, '"instances" must be a list'),
        ({"instances": []}, '"instances" is empty'),
        ({"instances": [[1], [2, 3]]}, 'the rows of "instances" differ'),
        ({"instances": [[1, 2]]}, "expects 4 features"),
        ({"instances": FLOWERS, "parameters": 3}, '"parameters" must be an object'),
        ({"instances": FLOWERS, "parameters": {"method": 3}}, '"parameters" must be an object'),
        ({"instances": FLOWERS, "parameters": {"method": "fit"}}, "no method 'fit'"),
        ({"instances": [["a"] * 4]}, "could not convert"),
    ],
)
def test_refusals(app: Flask, body: Any, said: str) -> None:
    assert said in refused(predict(app, body))


def test_other_content_types(app: Flask) -> None:
    assert "application/json" in refused(predict(app, b"1", Content_Type="image/png"), 415)


@pytest.fixture(scope="module")
def table_model() -> SklearnModel:
    table = pd.DataFrame({"small": [0.0, 1, 2, 3], "large": [9.0, 7, 5, 3]})
    return SklearnModel(LogisticRegression().fit(table, [0, 0, 1, 1]))


def test_objects_are_columns_by_name_or_rows(make_app: Any, app: Flask, table_model: SklearnModel) -> None:
    table = make_app(table_model, model_name="iris")
    instances = [{"large": 9, "small": 0}, {"large": 3, "small": 3}]
    assert predict(table, {"instances": instances}).get_json() == {"predictions": [0, 1]}
    assert "missing: small" in refused(predict(table, {"instances": [{"large": 9}]}))
    flowers = [dict(zip("abcd", row, strict=True)) for row in FLOWERS]
    assert predict(app, {"instances": flowers}).get_json() == {"predictions": [0, 2]}


class Sizes(Echo):
    """Answers how many bytes each image has, and its row."""

    signature = Signature((TensorSpec("image", "object", (-1,)),))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        sizes = np.array([len(image) for image in inputs.arrays[0]])
        return Tensors((sizes, np.stack([sizes, -sizes], axis=1)), ("size", "pair"))


@pytest.mark.parametrize("wrap", [lambda image: image, lambda image: {"image": image}, lambda image: {"file": image}])
def test_bytes_and_several_outputs(make_app: Any, wrap: Any) -> None:
    instances = [wrap({"b64": "AAAA"}), wrap({"b64": "/w=="})]
    response = predict(make_app(Sizes(), model_name="iris"), {"instances": instances})
    assert response.get_json() == {"predictions": [{"size": 3, "pair": [3, -3]}, {"size": 1, "pair": [1, -1]}]}


def test_keys(make_app: Any, iris_model: Model, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    app = make_app(iris_model, auth="key", keys_dir=tmp_path, model_name="iris")
    assert refused(predict(app, {"instances": FLOWERS}), 401)
    assert predict(app, {"instances": FLOWERS}, Authorization="Bearer the-key").status_code == 200
    assert app.test_client().get("/v1/models/iris").status_code == 200
