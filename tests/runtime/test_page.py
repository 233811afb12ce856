"""GET /ui and what it asks the server for; test_page_browser.py looks at it in a real browser.

case                                   expected
the page                               one document, open to everybody, nothing of the model in it
its policy                             its own style and script by their hashes, this server, and nothing else
/ui/model                              by the credential, unless SCORING_DOCS_AUTH=none; 503 while there is no model
its sample                             the model's own, the script's schema's, or one made from the signature
SCORING_UI=off                         neither is there
below a prefix                         both are
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask

from scoring_runtime.app import create_app
from scoring_runtime.frameworks import Model
from scoring_runtime.page import page
from scoring_runtime.protocols import examples
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Signature, Tensors, TensorSpec
from tests.runtime.models import Echo

KEY = "a-key-of-the-page-0123456789"


class Described(Echo):
    """A model that says what a test wants, and answers how many values it was given."""

    def __init__(self, *inputs: TensorSpec, methods: tuple[str, ...] = ("predict",)) -> None:
        self.signature = Signature(inputs, (TensorSpec("y", "float64", (-1,)),))
        self.methods = methods

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        return Tensors((np.array([array[0].size for array in inputs.arrays])[np.newaxis].sum(1),))


def test_the_page(make_app: Callable[..., Flask], iris_model: Model, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text(KEY)
    client = make_app(iris_model, auth="key", keys_dir=tmp_path, model_name="secret-name").test_client()
    answer = client.get("/ui")
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "secret-name" not in answer.text
    assert client.post("/ui").status_code == 405
    assert client.head("/ui").status_code == 200


def test_the_policy_allows_this_document_and_nothing_else() -> None:
    document, policy = page()
    text = document.decode()
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in policy


def test_the_page_names_no_other_host_and_keeps_nothing() -> None:
    text = page()[0].decode()
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", text) == []
    assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:,)", text) == []
    for word in ("localStorage", "sessionStorage", "indexedDB", "document.cookie", "innerHTML", "eval("):
        assert word not in text


def test_what_it_tells_of_the_model(make_app: Callable[..., Flask], iris_model: Model) -> None:
    answer = make_app(iris_model, model_name="iris").test_client().get("/ui/model")
    assert answer.headers["Cache-Control"] == "no-store"
    about = answer.json
    assert (about["name"], about["version"], about["platform"]) == ("iris", "default", "sklearn")
    assert about["methods"][:2] == ["predict", "predict_proba"]
    assert about["inputs"] == [{"name": "input-0", "type": "float64", "shape": [-1, 4]}]
    assert (about["image"], about["secured"]) == (False, False)
    assert about["sample"] == {"data": [[1.5] * 4]}


def test_it_asks_for_the_credential(make_app: Callable[..., Flask], iris_model: Model, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text(KEY)
    client = make_app(iris_model, auth="key", keys_dir=tmp_path).test_client()
    assert client.get("/ui/model").status_code == 401
    assert client.get("/ui/model", headers={"Authorization": f"Bearer {KEY}"}).json["secured"] is True
    public = make_app(iris_model, auth="key", keys_dir=tmp_path, docs_auth="none").test_client()
    assert public.get("/ui/model").status_code == 200


def test_while_there_is_no_model() -> None:
    settings = Settings.model_validate({"auth": "none", "framework": "sklearn"})
    client = create_app(settings, Serving(limits_of(settings))).test_client()
    assert client.get("/ui").status_code == 200
    answer = client.get("/ui/model")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "NotReady")


def test_it_can_be_switched_off(make_app: Callable[..., Flask], iris_model: Model) -> None:
    client = make_app(iris_model, ui="off").test_client()
    assert [client.get(path).status_code for path in ("/ui", "/ui/model")] == [404, 404]


def test_below_a_prefix(make_app: Callable[..., Flask], iris_model: Model) -> None:
    client = make_app(iris_model, path_prefix="/flowers").test_client()
    assert client.get("/flowers/ui").data == client.get("/ui").data
    assert client.get("/flowers/ui/model").status_code == 200


def test_the_sample_beside_the_model(iris_folder: Path, iris_model: Model) -> None:
    settings = Settings.model_validate({"auth": "none", "framework": "sklearn"})
    serving = Serving(limits_of(settings))
    serving.load(lambda: iris_model, iris_folder / "sample-request.json")
    try:
        about = create_app(settings, serving).test_client().get("/ui/model").json
    finally:
        serving.close()
    assert about["sample"] == json.loads((iris_folder / "sample-request.json").read_text())


def test_the_sample_of_a_scripts_schema(script_app: Callable[..., Flask]) -> None:
    client = script_app("schema_standard").test_client()
    sample = client.get("/ui/model").json["sample"]
    assert client.post("/score", json=sample).status_code == 200


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([], None),
        ([TensorSpec("x")], None),
        ([TensorSpec("x", "float32", (-1, 2))], [1.5, 1.5]),
        ([TensorSpec("x", "int64", (-1, 2, 1))], [[1], [1]]),
        ([TensorSpec("x", "float32", (-1, 3, 224, 224))], None),
        ([TensorSpec("x", "object", (-1,))], "text"),
        (
            [TensorSpec("a", "bool", (-1,)), TensorSpec("b", "", (-1,)), TensorSpec("c", "float64", (-1, -1))],
            {"a": True, "b": None, "c": [1.5]},
        ),
    ],
)
def test_examples_are_made_from_the_signature(inputs: list[TensorSpec], expected: Any) -> None:
    assert examples.row(Described(*inputs)) == expected


def test_models_of_images_get_a_file(make_app: Callable[..., Flask]) -> None:
    client = make_app(Described(TensorSpec("image", "object", (-1,)))).test_client()
    about = client.get("/ui/model").json
    assert (about["image"], about["sample"]) == (True, None)
    assert about["inputs"][0]["type"] == "image file"
