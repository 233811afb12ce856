"""What the runtime's tests share: a small real model, the app around it, and real server processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import joblib
import pytest
from flask import Flask
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scoring_runtime.app import FRONT, create_app
from scoring_runtime.frameworks import LoadOptions, Model, load_model
from scoring_runtime.metrics import Metrics
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.web.deferred import AWAITED, SEND
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
S3_WARNINGS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""The marks of tests that use `s3_endpoint`: the server's library is not what they test."""
_STARTS_PROCESSES = {"start_server", "start_script", "run_command"}
SLOW_MODEL = """
import time
from pathlib import Path
import numpy as np

class Slow:
    '''Takes as many seconds as the largest value in the rows, and fails on negative ones.'''
    def predict(self, rows):
        time.sleep(max(float(np.max(rows)), 0))
        if np.min(rows) < 0:
            raise ZeroDivisionError(f"payload {rows}")
        return rows[:, 0]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _STARTS_PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def iris_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.joblib (scaler and logistic regression, 4 features, 3 classes) and a sample request."""
    folder = tmp_path_factory.mktemp("iris")
    features, species = load_iris(return_X_y=True)
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(features, species), folder / "model.joblib")
    (folder / "sample-request.json").write_text(json.dumps({"data": features[:2].tolist()}))
    return folder


@pytest.fixture(scope="session")
def iris_model(iris_folder: Path) -> Model:
    return load_model("sklearn", iris_folder, LoadOptions())


@pytest.fixture(scope="session")
def photos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PyTorch model that takes image files of any size and answers with four labels."""
    import torch

    folder = tmp_path_factory.mktemp("photos")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 4)).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 32, 32),)), folder / "model.pt2")
    (folder / "labels.json").write_text(json.dumps(["tabby", "lynx", "retriever", "bus"]))
    preprocessing = {"size": 32, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


AppFactory = Callable[..., Flask]


@pytest.fixture
def make_app() -> Iterator[AppFactory]:
    """Make apps around any model; their model threads end with the test."""
    made: list[Serving] = []

    def make(model: Model, **values: Any) -> Flask:
        settings = Settings.model_validate({"auth": "none", "framework": "sklearn", **values})
        metrics = Metrics()
        serving = Serving(limits_of(settings), metrics)
        serving.load(lambda: model)
        made.append(serving)
        return create_app(settings, serving, metrics)

    yield make
    for serving in made:
        serving.close()


def awaiting(app: WSGIApplication) -> WSGIApplication:
    """An app that may answer later, as its server sees it, made one that answers at once."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answered: Queue[bytes] = Queue()
        environ[SEND] = answered.put
        body = app(environ, start_response)
        return [answered.get(timeout=PATIENCE)] if body is AWAITED else body

    return call


@pytest.fixture(params=["shortcut", "later", "flask"])
def every_way(request: pytest.FixtureRequest, make_app: AppFactory) -> AppFactory:
    """Make apps as `make_app` does, whose requests to score take each of the ways to their answer, in turn."""

    def make(model: Model, **values: Any) -> Flask:
        app = make_app(model, **values)
        if request.param == "flask":
            app.extensions[FRONT].shortcuts.clear()
        if request.param == "later":
            app.wsgi_app = awaiting(app.wsgi_app)  # type: ignore[method-assign]
        return app

    return make


@pytest.fixture
def script_folder(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Make model folders out of scripts/: the named one as score.py, others beside it as they are called.

    What a script does to this process is undone after the test: its modules, its place in sys.path, its variables.
    """
    modules, path, finders, environment = set(sys.modules), list(sys.path), list(sys.meta_path), dict(os.environ)

    def make(script: str, *beside: str) -> Path:
        folder = tmp_path / script
        folder.mkdir(parents=True, exist_ok=True)
        (source,) = SCRIPTS.glob(f"{script}.[pt][yx]*")
        shutil.copy(source, folder / "score.py")
        for name in beside:
            shutil.copy(SCRIPTS / f"{name}.py", folder)
        return folder

    yield make
    sys.path[:], sys.meta_path[:] = path, finders
    os.environ.clear()
    os.environ.update(environment)
    for name in set(sys.modules) - modules:
        file = str(getattr(sys.modules[name], "__file__", None) or "")
        if file.startswith(str(tmp_path)) or name.startswith(("azureml", "inference_schema", "sklearn.externals")):
            del sys.modules[name]


@pytest.fixture
def script_app(script_folder: Callable[..., Path]) -> Iterator[Callable[..., Flask]]:
    """Make apps around entry scripts, given their names in scripts/ or a folder, and settings by name."""
    made: list[tuple[Serving, Any]] = []

    def make(script: str | Path, *beside: str, **values: Any) -> Flask:
        from scoring_runtime.web.scripted import script_options

        folder = script if isinstance(script, Path) else script_folder(script, *beside)
        settings = Settings.model_validate({"auth": "none", "framework": "script", "model_path": folder, **values})
        metrics = Metrics()
        serving = Serving(limits_of(settings), metrics)
        model: Any = load_model("script", folder, LoadOptions(script=script_options(settings)))
        made.append((serving, model))
        serving.load(lambda: model, folder / "sample-request.json")
        return create_app(settings, serving, metrics)

    yield make
    for serving, model in made:
        serving.close()
        model.close()


@dataclass
class Server:
    """A running `python -m scoring_runtime serve`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    termination_log: Path
    _connections: list[HTTPConnection] = field(default_factory=list)

    def connect(self) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self._connections.append(connection)
        return connection

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict, bytes]:
        """One request on a connection of its own → status, headers in lower case, body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **names} if body else names)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def score(self, data: Any, **headers: str) -> tuple[int, Any]:
        status, _, body = self.request("POST", "/score", json.dumps({"data": data}).encode(), **headers)
        return status, json.loads(body)

    def wait_ready(self) -> Server:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start server processes; SCORING_ settings by keyword, in lower case, and a folder to import classes from."""
    servers: list[Server] = []

    def start(model_path: Path, import_path: Path | None = None, **values: Any) -> Server:
        folder = tmp_path_factory.mktemp("server")
        port = free_port()
        settings = {
            **{"framework": "sklearn", "auth": "none", "drain_seconds": "0", "port": port, "model_path": model_path},
            **{"termination_log": folder / "termination", **values},
        }
        environment = clean_environment() | {f"SCORING_{name.upper()}": str(value) for name, value in settings.items()}
        if import_path is not None:
            environment["PYTHONPATH"] += f"{os.pathsep}{import_path}"
        log = folder / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "scoring_runtime", "serve"], env=environment, stdout=stream, stderr=stream
            )
        servers.append(Server(process, port, log, folder / "termination"))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def slow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sleeps; its class is in a module beside it, which the test puts on the server's path."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow_model.py").write_text(SLOW_MODEL)
    sys.path.insert(0, str(folder))
    try:
        import slow_model  # type: ignore[import-not-found]

        joblib.dump(slow_model.Slow(), folder / "model.joblib")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("slow_model", None)
    return folder


@pytest.fixture(scope="session")
def start_slow(start_server: Callable[..., Any], slow_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def start(**values: Any) -> Any:
        return start_server(slow_folder, import_path=slow_folder, **values).wait_ready()

    return start


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """The address of a real S3 server (moto), which is slow to import and warns: see S3_WARNINGS."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m scoring_runtime …` to its end."""

    def run(*arguments: str, **values: Any) -> subprocess.CompletedProcess[str]:
        environment = clean_environment() | {name: str(value) for name, value in values.items()}
        command = [sys.executable, "-m", "scoring_runtime", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    return run


def clean_environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SCORING_", "AWS_"))}
    return environment | {"PYTHONPATH": str(ROOT / "runtime")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
