"""Scripts with the libraries and models that Azure's samples have: none of Azure's packages is installed."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from flask import Flask
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier

AppOf = Callable[..., Flask]
FLOWERS = load_iris().data[[0, 60, 120]].tolist()


def score(app: Flask, body: Any) -> Any:
    response = app.test_client().post("/score", data=json.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.text
    return response.get_json()


def constant(value: int) -> DummyClassifier:
    return DummyClassifier(strategy="constant", constant=value).fit([[0], [1], [2]], [value, value, 7])


@pytest.fixture
def iris_script(script_folder: Callable[..., Path], iris_folder: Path) -> Callable[[str], Path]:
    def make(script: str) -> Path:
        folder = script_folder(script)
        shutil.copy(iris_folder / "model.joblib", folder)
        return folder

    return make


def test_none_of_azures_packages_is_here() -> None:
    assert find_spec("azureml") is None
    assert find_spec("inference_schema") is None


def test_sklearn(script_app: AppOf, iris_script: Callable[[str], Path]) -> None:
    assert score(script_app(iris_script("plain_sklearn")), {"data": FLOWERS}) == [0, 1, 2]


def test_old_imports(script_app: AppOf, iris_script: Callable[[str], Path]) -> None:
    app = script_app(iris_script("old_imports"))
    # A returned string is a JSON string: these scripts' clients decode twice.
    assert json.loads(score(app, {"data": FLOWERS})) == {"result": [0, 1, 2]}
    assert "expecting 4 features" in json.loads(score(app, {"data": [[1]]}))["error"]


def test_pickles_that_name_the_old_joblib(tmp_path: Path) -> None:
    """Models of scikit-learn before 0.21 hold their arrays as sklearn.externals.joblib.numpy_pickle's wrappers."""
    from scoring_runtime import azureml_shims

    joblib.dump(np.arange(5), tmp_path / "new", protocol=2)
    old = (tmp_path / "new").read_bytes()
    assert old.count(b"cjoblib.numpy_pickle\n") == 1
    (tmp_path / "old").write_bytes(old.replace(b"cjoblib.", b"csklearn.externals.joblib."))
    azureml_shims.install()
    from sklearn.externals.joblib import load  # type: ignore[import-not-found]

    assert load.__module__.startswith("joblib")
    with (tmp_path / "old").open("rb") as stream:
        assert joblib.load(stream).tolist() == [0, 1, 2, 3, 4]


def test_several_models(script_app: AppOf, script_folder: Callable[..., Path]) -> None:
    folder = script_folder("multi_model")
    places = {"first.pkl": 1, "second/1/model.pkl": 2, "second/2/model.pkl": 3, "second/10/model.pkl": 4}
    for place, value in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(constant(value), folder / place)
    assert score(script_app(folder), {"data": [[0], [0]]}) == {"first": [1, 1], "second": [3, 3]}


def test_the_path_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scoring_runtime.azureml_shims.model import Model

    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    for place in (
        "a.pkl",
        "b/9/model.pkl",
        "b/10/model.pkl",
        "c/x",
        "c/y",
        "two.pkl",
        "two.onnx",
        "azureml-models/d/1/m",
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    found = {"a.pkl": "a.pkl", "../a.pkl": "a.pkl", "a": "a.pkl"}
    found |= {"b": "b/10/model.pkl", "c": "c", "d": "azureml-models/d/1/m"}
    for name, place in found.items():
        assert Model.get_model_path(name) == str(tmp_path / place)
    assert Model.get_model_path("b", version=9) == str(tmp_path / "b/9/model.pkl")
    for missing in ("two", "none"):
        with pytest.raises(FileNotFoundError, match=f"no model {missing} in .*; it holds a.pkl, azureml-models, b, c"):
            Model.get_model_path(missing)
    with pytest.raises(FileNotFoundError, match="b of version 3"):
        Model.get_model_path("b", version=3)


def test_onnx(script_app: AppOf, script_folder: Callable[..., Path], iris_folder: Path) -> None:
    from skl2onnx import to_onnx

    folder = script_folder("onnx_model")
    model = to_onnx(joblib.load(iris_folder / "model.joblib"), np.zeros((1, 4), np.float32))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert score(script_app(folder), {"data": FLOWERS}) == [0, 1, 2]


def test_pytorch(script_app: AppOf, script_folder: Callable[..., Path]) -> None:
    import torch

    folder = script_folder("torch_model")
    torch.save({"weight": torch.tensor([[1.0, 10.0]]), "bias": torch.tensor([0.5])}, folder / "weights.pt")
    assert score(script_app(folder), {"data": [[1.0, 2.0], [0.0, 0.0]]}) == {"scores": [[21.5], [0.5]]}


def test_collected_data_is_dropped_and_said_so(script_app: AppOf, caplog: pytest.LogCaptureFixture) -> None:
    app = script_app("collecting")
    for _ in range(2):
        answered = score(app, [{"a": 1}])
    assert answered["id"] == "mine"
    assert answered["errors"] == ["a Collector takes a pandas.DataFrame, not a list"] * 2
    assert sum("model_inputs" in record.message for record in caplog.records) == 1
