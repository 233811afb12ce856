"""The folder that is to be an MLflow model: what its MLmodel says, and every folder that is none.

- differences between the versions that a model wants and those that are here;
- no MLmodel, a damaged one, no generic interface, files outside, packages that are missing, too large for the memory.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from scoring_runtime.frameworks.mlmodel import read_description, read_example
from tests.frameworks.mlflow_models import FRAME, SPECIES, Sum, change, load, mlflow, save
from tests.runtime.answers import refused


@pytest.fixture(scope="module")
def fitted() -> Any:
    return LogisticRegression(max_iter=500).fit(FRAME, SPECIES)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory, fitted: Any) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "iris"
    save(mlflow.sklearn, fitted, folder)
    return folder


@pytest.mark.parametrize(
    "content",
    [
        '{"columns": ["left"], "data": [1]}',
        '{"columns": ["a", "b"], "data": [[1, 2], [3]]}',
        "[[1], [2, 3]]",
        "null",
        "{",
    ],
)
def test_an_example_without_rows_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "MLmodel").write_text(
        "flavors: {python_function: {}}\nsaved_input_example_info: {artifact_path: example.json}"
    )
    (tmp_path / "example.json").write_text(content)
    assert read_example(read_description(tmp_path)) is None


def test_other_versions_are_warned_of(tmp_path: Path, fitted: Any) -> None:
    wanted = ["scikit-learn==1.2.0", "numpy>=1", "package-of-nobody==3", "mlflow==1.0"]
    save(mlflow.sklearn, fitted, tmp_path / "m", pip_requirements=wanted)
    content = yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())
    content["flavors"]["python_function"]["python_version"] = "3.8.1"
    change(tmp_path / "m", **content)
    (warning,) = load(tmp_path / "m").warnings
    import sklearn

    assert f"scikit-learn==1.2.0 (here {sklearn.__version__})" in warning
    assert "package-of-nobody==3 (not here)" in warning
    assert "Python 3.8.1 (here 3." in warning
    assert "numpy" not in warning
    assert "mlflow" not in warning


def test_packages_that_are_missing(tmp_path: Path) -> None:
    save(mlflow.pyfunc, tmp_path / "m", python_model=Sum(), pip_requirements=["package-of-nobody==3"])
    content = yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())
    content["flavors"]["python_function"]["loader_module"] = "package_of_nobody.loader"
    change(tmp_path / "m", **content)
    reason, message = refused(load, tmp_path / "m")
    assert (reason, "needs the Python package package_of_nobody" in message) == ("FrameworkMissing", True), message
    assert "it was saved with package-of-nobody==3 (not here)" in message


def test_a_damaged_pickle(tmp_path: Path) -> None:
    save(mlflow.pyfunc, tmp_path / "m", python_model=Sum(), pip_requirements=["numpy==1.0"])
    (tmp_path / "m" / "python_model.pkl").write_bytes(b"\x80\x04damaged")
    reason, message = refused(load, tmp_path / "m")
    assert (reason, "it was saved with numpy==1.0 (here " in message) == ("ModelIncompatible", True), message
    (tmp_path / "m" / "requirements.txt").unlink()
    assert refused(load, tmp_path / "m")[0] == "ModelInvalid"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "MLmodel cannot be read"),
        ("a: 1", "MLmodel has no flavors"),
        ("flavors: {spark: {}}", "has the flavors spark and not python_function"),
        ("flavors: {python_function: {}}\nsignature: {inputs: '[{}]'}", "the signature in MLmodel cannot be read"),
        (
            "flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {pickled_model: ../../x.pkl}}",
            "names the file ../../x.pkl, which is outside the model's folder",
        ),
    ],
)
def test_damaged_descriptions(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "MLmodel").write_text(content)
    reason, message = refused(load, tmp_path)
    assert (reason, said in message) == ("ModelInvalid", True), message


def test_where_a_folder_may_lie(tmp_path: Path, iris: Path) -> None:
    assert load(iris.parent).methods == load(iris / "MLmodel").methods
    assert "there is no MLmodel in" in refused(load, tmp_path)[1]
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "MLmodel").write_text("")
    assert "has the MLflow models a, b" in refused(load, tmp_path)[1]


def test_larger_than_the_memory(iris: Path) -> None:
    assert refused(load, iris, memory_limit_bytes=100)[0] == "ModelTooLarge"
