"""models: addresses, beside the cases of test_fetch_stores.py.

case                                            expected
an alias                                        the version it stands for
artifacts in another store                      read from there, with the same Secret
artifacts in a file, at another server          refused with what to do about the MLflow server
a user, a token                                 sent to the server
credentials that are not accepted, or none      ModelAccessDenied with what to put into the Secret
something else at MLFLOW_TRACKING_URI           ModelSourceUnavailable that names it
a model that MLflow logged (real server)        found by version and by alias
"""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime import emulators
from tests.runtime.fetching import failure, placed, run, set_environment
from tests.runtime.gate import Always, Answer, Gate, gate_before
from tests.runtime.model_stores import GoogleStorage, ModelRegistry

LOGS_A_MODEL = """
import sys
import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.set_tracking_uri(sys.argv[1])
model = LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))
mlflow.sklearn.log_model(model, name="model", registered_model_name="flowers", pip_requirements=[])
mlflow.MlflowClient().set_registered_model_alias("flowers", "champion", "1")
"""


@pytest.fixture
def registry() -> ModelRegistry:
    return ModelRegistry({"iris/3/MLmodel": b"flavors:", "iris/3/data/model.pkl": b"x"})


@pytest.fixture
def gate(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gate_before(registry) as gate:
        set_environment(monkeypatch, registry.environment(gate.base))
        yield gate


def test_an_alias(gate: Gate, tmp_path: Path) -> None:
    assert run("models:/iris@champion", tmp_path) == {"MLmodel": b"flavors:", "data/model.pkl": b"x"}


@pytest.mark.parametrize("uri", ["models:/iris@nobody", "models:/iris/4", "models:/tulips/1"])
def test_nothing_there(gate: Gate, tmp_path: Path, uri: str) -> None:
    found = failure(uri, tmp_path)
    assert (found.reason, f" on {uri}; {gate.base} knows no such model" in found.message) == ("ModelNotFound", True)


def test_artifacts_in_another_store(
    gate: Gate, registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.artifacts = "gs://models/mlflow/"
    with gate_before(GoogleStorage({"mlflow/iris/3/MLmodel": b"elsewhere"})) as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.base)
        assert run("models:/iris/3", tmp_path) == {"MLmodel": b"elsewhere"}


@pytest.mark.parametrize(
    "where", ["file:///etc/", "/mlruns/", "pvc://models/", "dbfs:/", "https://other/", "mlflow-artifacts://o/"]
)
def test_artifacts_out_of_reach(gate: Gate, registry: ModelRegistry, tmp_path: Path, where: str) -> None:
    registry.artifacts = where
    found = failure("models:/iris/3", tmp_path)
    assert (found.reason, "--serve-artifacts" in found.message) == ("ModelNotFound", True)


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "the-token"}, "Bearer the-token"),
        (
            {"MLFLOW_TRACKING_USERNAME": "reader", "MLFLOW_TRACKING_PASSWORD": "the-password"},
            f"Basic {base64.b64encode(b'reader:the-password').decode()}",
        ),
    ],
)
def test_credentials(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], sent: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    run("models:/iris/3", tmp_path)
    assert {asked.headers.get("authorization") for asked in gate.asked} == {sent}
    gate.denied = 401
    found = failure("models:/iris/3", tmp_path / "other")
    assert (found.reason, "does not accept the credentials" in found.message) == ("ModelAccessDenied", True)


def test_no_credentials(gate: Gate, tmp_path: Path) -> None:
    gate.denied = 401
    found = failure("models:/iris/3", tmp_path)
    assert (found.reason, "put MLFLOW_TRACKING_USERNAME" in found.message) == ("ModelAccessDenied", True)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_something_else_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with gate_before(Always(Answer(200, body))) as gate:
        set_environment(monkeypatch, {"MLFLOW_TRACKING_URI": gate.base})
        found = failure("models:/iris/3", tmp_path)
    assert found.reason == "ModelSourceUnavailable"
    assert "check MLFLOW_TRACKING_URI" in found.message


def test_names_that_lead_out_of_the_folder(gate: Gate, registry: ModelRegistry, tmp_path: Path) -> None:
    registry.files["iris/3/.."] = b"evil"
    assert failure("models:/iris/3", tmp_path).reason == "ArchiveUnsafe"


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(900)  # MLflow's first start takes minutes on a busy machine.
@pytest.mark.parametrize("uri", ["models:/flowers/1", "models:/flowers@champion"])
def test_a_model_that_mlflow_logged(
    flowers: emulators.MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    set_environment(monkeypatch, flowers.environment(flowers.base))
    run(uri, tmp_path)
    assert {"MLmodel", "requirements.txt"} < set(placed(tmp_path))
    assert (tmp_path / "MLmodel").read_text().count("flavors:") == 1


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulators.MlflowServer]:
    with emulators.mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        command = [server.python, "-c", LOGS_A_MODEL, server.base]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        yield server
