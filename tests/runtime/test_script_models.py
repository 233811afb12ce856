"""What stands in for Azure's packages: the path of a model, old names inside pickles, the Collector.

Whole scripts are in test_script_azure_samples.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from flask import Flask

AppOf = Callable[..., Flask]


def score(app: Flask, body: Any) -> Any:
    response = app.test_client().post("/score", data=json.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.text
    return response.get_json()


@pytest.mark.usefixtures("script_folder")
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


def test_collected_data_is_dropped_and_said_so(script_app: AppOf, caplog: pytest.LogCaptureFixture) -> None:
    app = script_app("collecting")
    for _ in range(2):
        answered = score(app, [{"a": 1}])
    assert answered["id"] == "mine"
    assert answered["errors"] == ["a Collector takes a pandas.DataFrame, not a list"] * 2
    assert sum("model_inputs" in record.message for record in caplog.records) == 1
