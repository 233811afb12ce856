"""Several models in one process, through the real app and a real server.

case                     expected
paths                    V1, V2 and /score/NAME by name; /score and /invocations are the first model's
describing               /v1/models, /swagger.json and readiness tell of all
counting                 metrics and log have the model's name; slots and load are those of all together
slots                    shared; a slow model delays no other
models that hang         are waited for together, at the end of the process
a model that fails       is named in the termination message; the process ends
"""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LinearRegression
from werkzeug.test import Client

from scoring_runtime.app import OPERATIONS, create_app
from scoring_runtime.batching import Limits, Load, QueueItem
from scoring_runtime.errors import ModelNotFound, NotReady, Overloaded
from scoring_runtime.frameworks import LoadOptions, Model, load_model
from scoring_runtime.logs import AccessLog
from scoring_runtime.repository.manifest import MANIFEST, read_manifest
from scoring_runtime.repository.serving import Repository
from scoring_runtime.serving import limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Tensors
from tests.runtime.models import Held
from tests.waiting import PATIENCE, until

FLOWERS = load_iris().data[[0, 60, 120]]
WINES = load_wine().data[[0, 60, 120]]
ENTRIES = [{"name": "iris", "version": "3"}, {"name": "wine", "path": "wine/model.joblib", "batching": {"maxSize": 4}}]


@pytest.fixture(scope="module")
def wine() -> LinearRegression:
    return LinearRegression().fit(*load_wine(return_X_y=True))


@pytest.fixture(scope="module")
def folder(iris_folder: Path, wine: LinearRegression, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of different kinds, one with a sample request."""
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(iris_folder, folder / "iris")
    (folder / "wine").mkdir()
    joblib.dump(wine, folder / "wine" / "model.joblib")
    (folder / MANIFEST).write_text(json.dumps({"models": ENTRIES}))
    return folder


def read(settings: Settings) -> Model:
    assert settings.framework is not None
    return load_model(settings.framework, settings.model_path, LoadOptions())


def sample_beside(settings: Settings) -> Path:
    return settings.model_path / "sample-request.json"


class Several:
    """Two models behind one app, and what is written of their requests."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.model_validate({"auth": "none", "framework": "sklearn", "model_path": folder})
        self.models = Repository(limits_of(self.settings), read_manifest(self.settings))
        self._lines: list[bytes] = []
        self._log = AccessLog(write=self._lines.append)
        self.app: Flask = create_app(self.settings, self.models, None, self._log)
        self.client = self.app.test_client()

    def load(self) -> "Several":
        self.models.load(read, sample_beside)
        return self

    def logged(self) -> list[dict[str, Any]]:
        self._log.close()
        return [json.loads(line) for lines in self._lines for line in lines.splitlines()]

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        families = list(text_string_to_metric_families(self.client.get("/metrics").text))
        assert len({family.name for family in families}) == len(families)
        samples = [one for family in families for one in family.samples if one.name == name]
        return {tuple(one.labels[label] for label in sorted(one.labels)): one.value for one in samples}

    def close(self) -> None:
        self._log.close()
        self.models.close()


@pytest.fixture
def several(folder: Path) -> Iterator[Several]:
    made = Several(folder).load()
    yield made
    made.close()


def test_what_they_say_of_how_they_are_run(folder: Path) -> None:
    made = Several(folder)

    def read_converted(settings: Settings) -> Model:
        accelerate = "onnx" if settings.model_name == "wine" else "none"
        return load_model("sklearn", settings.model_path, LoadOptions(accelerate=accelerate))

    made.models.load(read_converted, sample_beside)
    (said,) = Client(made.app.extensions[OPERATIONS]).get("/model").get_json()["models"]
    made.close()
    assert said["name"] == "wine"
    assert said["parameters"]["accelerate"] in ("onnx", "none")


def test_each_by_its_name_and_the_first_without(several: Several, iris_model: Model, wine: LinearRegression) -> None:
    rows = iris_model.prepare(Tensors((FLOWERS,)), "predict")
    species = iris_model.predict(rows, "predict").arrays[0].tolist()
    classes = wine.predict(WINES).tolist()
    post = several.client.post
    for path in ("/score", "/score/iris"):
        assert post(path, json={"data": FLOWERS.tolist()}).get_json() == species
    assert post("/score/wine", json={"data": WINES.tolist()}).get_json() == classes
    assert post("/v1/models/wine:predict", json={"instances": WINES.tolist()}).get_json() == {"predictions": classes}
    assert post("/invocations", json={"inputs": FLOWERS.tolist()}).get_json() == {"predictions": species}
    tensor = {"name": "x", "shape": list(WINES.shape), "datatype": "FP64", "data": WINES.ravel().tolist()}
    for path in ("/v2/models/wine/infer", "/v2/models/wine/versions/default/infer"):
        answer = post(path, json={"inputs": [tensor]}).get_json()
        assert (answer["model_name"], answer["outputs"][0]["data"]) == ("wine", classes)
    assert post("/v2/models/iris/versions/3/infer", json={"inputs": [tensor]}).status_code == 400  # 13 features


def test_what_is_not_there(several: Several) -> None:
    for path in ("/score/model", "/v2/models/model/infer", "/v1/models/model:predict", "/v2/models/iris/versions/4"):
        assert several.client.post(path, json={"data": []}).status_code == 404
    missing = several.client.get("/v2/models/model")
    assert missing.status_code == 404
    assert "error" in missing.get_json()


def test_descriptions_tell_of_all(several: Several) -> None:
    get = several.client.get
    assert get("/v1/models").get_json() == {"models": ["iris", "wine"]}
    assert get("/v2/models/iris").get_json()["versions"] == ["3"]
    assert get("/v2/models/wine").get_json()["inputs"][0]["shape"] == [-1, 13]
    for version in ("2", "3.1"):
        described = get(f"/swagger.json?version={version}").get_json()
        posts = {path: methods["post"] for path, methods in described["paths"].items() if "post" in methods}
        named = {path for path in posts if "iris" in path or "wine" in path}
        assert {"/score/wine", "/v1/models/iris:predict", "/v2/models/wine/infer"} <= named
        assert posts.keys() - named == {"/score", "/invocations"}
        identifiers = [methods[verb]["operationId"] for methods in described["paths"].values() for verb in methods]
        assert len(identifiers) == len(set(identifiers))
        # Each by its own model: one has 4 features, the other 13.
        assert posts["/score/iris"] != posts["/score/wine"]


def test_the_page_is_about_the_first(several: Several) -> None:
    assert several.client.get("/ui").status_code == 200
    about = several.client.get("/ui/model").get_json()
    assert (about["name"], about["sample"]) == ("iris", {"data": load_iris().data[:2].tolist()})


def test_ready_when_all_are(folder: Path) -> None:
    several = Several(folder)
    get = several.client.get
    goes_on, reading = threading.Event(), threading.Event()

    def wait_for_wine(settings: Settings) -> Model:
        if settings.model_name == "wine":
            reading.set()
            assert goes_on.wait(PATIENCE)
        return read(settings)

    loading = threading.Thread(target=several.models.load, args=[wait_for_wine, sample_beside])
    loading.start()
    try:
        assert reading.wait(PATIENCE)
        assert get("/v2/models/iris/ready").get_json() == {"name": "iris", "ready": True}
        for path in ("/readyz", "/v2/health/ready", "/v2/models/wine/ready", "/v1/models/wine", "/ping"):
            assert get(path).status_code == 503, path
        assert several.client.post("/score/wine", json={"data": [[1.0] * 13]}).status_code == 503
        assert get("/swagger.json").status_code == 503
        goes_on.set()
        loading.join()
        for path in ("/readyz", "/v2/health/ready", "/v2/models/wine/ready", "/v1/models/wine", "/swagger.json"):
            assert get(path).status_code == 200, path
        several.models.drain()
        assert get("/readyz").get_json() == {"state": "draining"}
        assert several.client.post("/score/wine", json={"data": WINES.tolist()}).headers["Connection"] == "close"
    finally:
        goes_on.set()
        several.close()
    assert several.client.post("/score", json={"data": FLOWERS.tolist()}).status_code == 503


def test_metrics_and_log_have_the_models_name(several: Several) -> None:
    several.client.post("/score", json={"data": FLOWERS.tolist()})
    several.client.post("/v2/models/iris/infer", json={})
    several.client.post("/score/wine", json={"data": WINES.tolist()})
    several.client.post("/score/none", json={"data": WINES.tolist()})
    counted = several.metric("scoring_requests_total")
    assert counted == {("200", "iris", "azure"): 1, ("400", "iris", "v2"): 1, ("200", "wine", "azure"): 1}
    assert several.metric("scoring_errors_total") == {("InvalidInput", "iris"): 1}
    # The sample of iris was scored before it was ready.
    assert several.metric("scoring_batch_rows_sum") == {("iris",): 5, ("wine",): 3}
    assert several.metric("scoring_ready") == {("iris",): 1, ("wine",): 1}
    assert set(several.metric("scoring_model_info")) == {
        ("sklearn", "iris", "iris", "3"),
        ("sklearn", "wine", "wine", "default"),
    }
    assert several.metric("scoring_slots") == {(): 8}
    assert several.metric("scoring_busy") == {(): 0}
    logged = [(line["path"], line.get("model")) for line in several.logged()]
    assert logged == [
        ("/score", "iris"),
        ("/v2/models/iris/infer", "iris"),
        ("/score/wine", "wine"),
        ("/score/none", None),
    ]


@pytest.fixture
def held() -> Iterator[Callable[..., tuple[Repository, dict[str, Held]]]]:
    made: list[tuple[Repository, dict[str, Held]]] = []

    def make(limits: Limits) -> tuple[Repository, dict[str, Held]]:
        values = {"max_concurrent": limits.slots, "max_queue_wait_milliseconds": round(limits.max_queue_wait * 1000)}
        models = {"a": Held(), "b": Held()}
        repository = Repository(limits, [Settings.model_validate({"model_name": name, **values}) for name in models])
        repository.load(lambda one: models[one.model_name], lambda one: Path("none"))
        made.append((repository, models))
        return made[-1]

    yield make
    for repository, models in made:
        for model in models.values():
            model.go_on.set()
        repository.close()


def submit(repository: Repository, name: str, answers: list[str]) -> None:
    def done(item: QueueItem) -> None:
        answers.append(name)

    repository.servings[name].submit(Tensors((np.ones((1, 1)),)), "", done)


def test_a_slow_model_delays_no_other(held: Any) -> None:
    repository, models = held(Limits(max_queue_wait=PATIENCE))
    answers: list[str] = []
    submit(repository, "a", answers)
    assert models["a"].entered.acquire(timeout=PATIENCE)
    models["b"].go_on.set()
    submit(repository, "b", answers)
    until(lambda: answers == ["b"])
    assert repository.load_report() == Load(1, 0, 8)
    models["a"].go_on.set()
    until(lambda: answers == ["b", "a"])
    until(lambda: repository.load_report() == Load(0, 0, 8))


def test_slots_are_those_of_all_models_together(held: Any) -> None:
    repository, models = held(Limits(slots=2, max_queue_wait=0))
    answers: list[str] = []
    submit(repository, "a", answers)
    submit(repository, "a", answers)
    assert repository.load_report() == Load(2, 0, 2)
    with pytest.raises(Overloaded):
        submit(repository, "b", answers)
    models["a"].go_on.set()
    until(lambda: answers == ["a", "a"])
    models["b"].go_on.set()
    submit(repository, "b", answers)
    until(lambda: answers == ["a", "a", "b"])


def test_a_slot_of_one_model_is_missing_to_the_other(held: Any) -> None:
    """Two are being scored, one of each model, and have both slots; the third waits for one in vain."""
    repository, models = held(Limits(slots=2, max_queue_wait=0.05))
    answers: list[str] = []
    for name in ("a", "b"):
        submit(repository, name, answers)
        assert models[name].entered.acquire(timeout=PATIENCE)
    with pytest.raises(Overloaded):
        repository.servings["b"].score(Tensors((np.ones((1, 1)),)), "")
    assert repository.load_report() == Load(2, 0, 2)


def test_models_that_hang_are_waited_for_together(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, the end of the process takes no longer than it may for one."""
    repository, _ = held(Limits())
    clock, waited = [0.0], []

    def hangs(seconds: float) -> None:
        waited.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("scoring_runtime.repository.serving.monotonic", lambda: clock[0])
    for serving in repository.servings.values():
        monkeypatch.setattr(serving, "close", hangs)
    repository.close(1.0)
    assert waited == [0, 0, 1, 0], "all are told to stop before one is waited for"


def test_a_model_that_fails_is_named(folder: Path) -> None:
    several = Several(folder)

    def fail(settings: Settings) -> Model:
        if settings.model_name == "wine":
            raise ModelNotFound("no model file; it holds nothing")
        return read(settings)

    with pytest.raises(ModelNotFound, match=r"^model wine: no model file"):
        several.models.load(fail, sample_beside)
    assert several.models.state == "failed"
    assert several.client.get("/readyz").get_json() == {"state": "failed"}
    several.close()
    with pytest.raises(NotReady):
        several.models.servings["wine"].loaded_model()


def test_a_server_process(start_server: Any, folder: Path) -> None:
    server = start_server(folder, processes=2, max_concurrent=4).wait_ready()
    for name, rows in (("iris", FLOWERS), ("wine", WINES)):
        status, _, body = server.request("POST", f"/score/{name}", json.dumps({"data": rows.tolist()}).encode())
        assert (status, len(json.loads(body))) == (200, 3)
    assert json.loads(server.request("GET", "/load")[2]) == {"busy": 0, "queued": 0, "slots": 4}
    counted = server.request("GET", "/metrics")[2].decode()
    assert 'scoring_requests_total{code="200",model="wine",protocol="azure"} 1.0' in counted
    server.terminate()
    assert server.process.wait(PATIENCE) == 0
    assert any(record.get("model") == "wine" for record in server.records())


def test_a_server_process_whose_second_model_is_broken(start_server: Any, folder: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "wine" / "model.joblib").write_text("{}")
    server = start_server(broken)
    assert server.process.wait(PATIENCE) == 3
    said = json.loads(server.termination_log.read_text())
    assert said["reason"] == "ModelInvalid"
    assert said["message"].startswith("model wine: model.joblib is JSON text, not a model")


def test_data_collection_is_refused(start_server: Any, folder: Path, tmp_path: Path) -> None:
    server = start_server(folder, data_collection_uri=f"file://{tmp_path}")
    assert server.process.wait(PATIENCE) == 2
    assert "does not go with several models" in server.termination_log.read_text()
