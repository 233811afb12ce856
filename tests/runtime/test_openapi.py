"""GET /swagger.json: Swagger 2.0 unless `version` asks for OpenAPI 3.0 or 3.1.

It is valid, and true of the routes and of the model: each path exists, each example request and its answer fit.
"""

from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
from sklearn.linear_model import LogisticRegression

from scoring_runtime.frameworks import Model
from scoring_runtime.frameworks.sklearn import SklearnModel
from scoring_runtime.tensors import Signature, Tensors, TensorSpec
from tests.runtime.models import Echo

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
REQUESTS = {
    "/score": {"data": FLOWERS},
    "/v2/models/iris/infer": {
        "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": FLOWERS}],
        "outputs": [{"name": "predict"}],
    },
    "/v1/models/iris:predict": {"instances": FLOWERS},
    "/invocations": {"dataframe_split": {"data": FLOWERS}},
}


class Images(Echo):
    """What a model says that knows nothing of its input but one axis."""

    signature = Signature((TensorSpec("image", "", (-1, 3, -1, -1)),), (TensorSpec("y", "float32", (-1, 2)),))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        return Tensors((np.zeros((len(inputs), 2), np.float32),))


def people() -> SklearnModel:
    table = pd.DataFrame({"age": [20, 30, 40], "city": ["a", "b", "c"]})
    table["city"] = table["city"].astype("category").cat.codes
    return SklearnModel(LogisticRegression().fit(table, [0, 1, 0]))


VALIDATORS = {
    "": ("2.0", OpenAPIV2SpecValidator),
    "?version=2": ("2.0", OpenAPIV2SpecValidator),
    "?version=3": ("3.0.3", OpenAPIV30SpecValidator),
    "?version=3.0": ("3.0.3", OpenAPIV30SpecValidator),
    "?version=3.1": ("3.1.0", OpenAPIV31SpecValidator),
}


@pytest.mark.parametrize("query", VALIDATORS)
@pytest.mark.parametrize("model", ["iris", "people", "images"])
def test_versions_are_valid(make_app: Any, iris_model: Model, query: str, model: str) -> None:
    version, validator = VALIDATORS[query]
    made = {"iris": lambda: iris_model, "people": people, "images": Images}[model]()
    response = make_app(made, model_name="iris").test_client().get(f"/swagger.json{query}")
    assert (response.status_code, response.content_type) == (200, "application/json")
    document = response.get_json()
    assert document["swagger" if version == "2.0" else "openapi"] == version
    validator(document).validate()


@pytest.mark.parametrize("version", ["1", "4", "", "2.0.0"])
def test_other_versions(make_app: Any, iris_model: Model, version: str) -> None:
    response = make_app(iris_model).test_client().get(f"/swagger.json?version={version}")
    assert response.status_code == 404
    assert "known are 2, 3, 3.0, 3.1" in response.get_json()["error"]["message"]


@pytest.fixture
def document(make_app: Any, iris_model: Model) -> dict:
    client = make_app(iris_model, model_name="iris", path_prefix="/team").test_client()
    return dict(client.get("/team/swagger.json?version=3.1").get_json())


@pytest.mark.parametrize("path", REQUESTS)
def test_requests_and_answers_are_as_described(make_app: Any, iris_model: Model, document: dict, path: str) -> None:
    response = make_app(iris_model, model_name="iris").test_client().post(path, json=REQUESTS[path])
    assert response.status_code == 200, response.data
    operation = document["paths"][path]["post"]
    jsonschema.validate(REQUESTS[path], operation["requestBody"]["content"]["application/json"]["schema"])
    jsonschema.validate(response.get_json(), operation["responses"]["200"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize("metrics_port", [0, 5002])
def test_every_path_exists_and_none_is_missing(make_app: Any, iris_model: Model, metrics_port: int) -> None:
    app = make_app(iris_model, model_name="iris", metrics_port=metrics_port)
    client = app.test_client()
    document = client.get("/swagger.json?version=3.1").get_json()
    assert ("/metrics" in document["paths"]) == (not metrics_port)
    for path, operations in document["paths"].items():
        for method in operations:
            assert client.open(path, method=method.upper(), data=b"").status_code in (200, 400), path
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    of_people = {route for route in routes if route.startswith("/ui")}
    assert routes - of_people - {"/swagger.json"} == set(document["paths"])


def test_the_prefix_is_the_servers(document: dict) -> None:
    assert document["servers"] == [{"url": "/team"}]


def test_the_rows_are_those_of_the_model(document: dict) -> None:
    schema = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for wrong in ({"data": [[1, 2, 3]]}, {"data": [["a"] * 4]}, {"data": []}, {}, {"data": FLOWERS, "rows": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert schema["properties"]["method"]["enum"] == ["predict", "predict_proba", "decision_function"]


def test_a_key_is_asked_for_and_described(make_app: Any, iris_model: Model, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    client = make_app(iris_model, auth="key", keys_dir=tmp_path).test_client()
    assert client.get("/swagger.json").status_code == 401
    described = client.get("/swagger.json", headers={"Authorization": "Bearer the-key"}).get_json()
    assert described["paths"]["/score"]["post"]["security"] == [{"Bearer": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]
    public = make_app(iris_model, auth="key", keys_dir=tmp_path, docs_auth="none").test_client()
    assert public.get("/swagger.json").status_code == 200


def test_before_the_model_is_loaded() -> None:
    from scoring_runtime.app import create_app
    from scoring_runtime.batching import Limits
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

    response = create_app(Settings(auth="none"), Serving(Limits())).test_client().get("/swagger.json")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("version", ["2", "3.1"])
def test_each_protocols_example_is_scored(make_app: Any, iris_model: Model, version: str) -> None:
    client = make_app(iris_model, model_name="iris").test_client()
    paths = client.get(f"/swagger.json?version={version}").json["paths"]
    examples = {}
    for path, operations in paths.items():
        if "post" in operations:
            asked = operations["post"]
            body = asked["parameters"][0] if version == "2" else asked["requestBody"]["content"]["application/json"]
            examples[path] = body["schema"]["example"]
    assert examples.keys() >= REQUESTS.keys()
    for path, example in examples.items():
        assert client.post(path, json=example).status_code == 200, (path, example)
