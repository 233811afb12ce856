"""The servers that are measured: how each is started for one core, and what its clients send."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.runtime import forms
from benchmarks.runtime.environments import LOCKS, OURS, ROOT, EnvironmentMissingError, install, python_of
from benchmarks.runtime.forms import Form
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import Launch, free_port

SERVERS = Path(__file__).with_name("servers")
CONVERTED = "ours-onnx"
"""Ours with `accelerate: onnx`."""
MAX_BATCH = 32
Start = Callable[[BenchModel, int, Path], tuple[Sequence[str], Mapping[str, str]]]


@dataclass(frozen=True)
class Peer:
    """One server."""

    name: str
    title: str
    settings: str
    """How it is set up, for the report."""
    forms: Mapping[str, Form]
    """What its clients send, by what the model's rows are; without an entry it is not measured with such rows."""
    start: Start
    package: str = ""
    """Its package in PyPI; empty for ours, and for yardsticks, which run in the project's own environment."""
    python: bool = True
    """Whether the server that speaks HTTP is written in Python."""
    yardstick: bool = False
    """Not a server that anyone would use, but a limit."""
    checked: bool = True
    """Whether it gives answers at all."""
    seconds: float = 90
    """How long its start may take."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The installed version, from the lock file."""
        if not self.package:
            return version("granian") if self.yardstick else version("scoring-operator")
        pins = dict(
            line.split("==", 1) for line in (LOCKS / f"{self.name}.txt").read_text().splitlines() if "==" in line
        )
        return pins[self.package].split()[0]

    def install(self) -> None:
        """Make its environment. Raises EnvironmentMissingError."""
        if not self.yardstick:
            install(self.name if self.package else OURS)

    def launch(self, model: BenchModel, port: int, folder: Path) -> Launch:
        """Return how to start it with a model, in a folder of its own."""
        command, environment = self.start(model, port, folder)
        return Launch(command, {**self.environment, **environment}, folder)


def _script(name: str, script: str, *arguments: str) -> Start:
    def start(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        python = Path(sys.executable) if name.startswith("yardstick") else python_of(name)
        return [str(python), str(SERVERS / script), *arguments], _model(model, port)

    return start


def _model(model: BenchModel, port: int) -> dict[str, str]:
    """Return the environment that servers/model.py reads."""
    return {"BENCH_MODEL": str(model.file), "BENCH_KIND": forms.kind_of(model), "BENCH_PORT": str(port)}


def _ours(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    # PyTorch is not installed once more: 5 GB.
    python = python_of(OURS) if model.framework == "sklearn" else Path(sys.executable)
    command = [str(python), "-m", "scoring_runtime", "serve", str(model.folder)]
    settings = {
        "PYTHONPATH": str(ROOT / "runtime"),
        "SCORING_FRAMEWORK": model.framework,
        "SCORING_AUTH": "none",
        "SCORING_PORT": str(port),
        "SCORING_MODEL_NAME": forms.MODEL,
        "SCORING_DRAIN_SECONDS": "0",
        "SCORING_LOG_LEVEL": "warning",
        "SCORING_MAX_CONCURRENT": str(MAX_BATCH),
        "SCORING_MAX_QUEUE_WAIT_MILLISECONDS": "60000",
    }
    return command, settings


def _converted(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    command, settings = _ours(model, port, folder)
    return command, {**settings, "SCORING_ACCELERATE": "onnx"}


def _mlserver(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    (folder / "settings.json").write_text(
        json.dumps({
            "debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(),
            "metrics_port": free_port(), "parallel_workers": 0,
        })
    )  # fmt: skip
    (folder / "model-settings.json").write_text(
        json.dumps({
            "name": forms.MODEL, "implementation": "mlserver_sklearn.SKLearnModel", "max_batch_size": MAX_BATCH,
            "max_batch_time": 0.001, "parameters": {"uri": str(model.file)},
        })
    )  # fmt: skip
    return [str(python_of("mlserver").with_name("mlserver")), "start", str(folder)], {}


def _bentoml(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    command = [str(python_of("bentoml").with_name("bentoml")), "serve", "bentoml_service:Bench"]
    arguments = ["--working-dir", str(SERVERS), "--host", "127.0.0.1", "--port", str(port), "--api-workers", "1"]
    return [*command, *arguments], {**_model(model, port), "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(folder)}


def _ray(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    command, environment = _script("ray", "ray_server.py")(model, port, folder)
    # The paths of its sockets must be short.
    short = tempfile.mkdtemp(prefix="ray-")
    return command, {**environment, "BENCH_RAY_FOLDER": short}


def _azureml(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    command = [str(python_of("azureml").with_name("azmlinfsrv")), "--entry_script", str(SERVERS / "azureml_score.py")]
    return [*command, "--port", str(port), "--worker_count", "1"], {
        **_model(model, port), "PYTHONPATH": str(SERVERS), "AML_APP_ROOT": str(SERVERS),
        "AML_CORS_ORIGINS": "", "WORKER_TIMEOUT": "300",
    }  # fmt: skip


def _mlflow(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    saved = folder / "model"
    python = python_of("mlflow")
    if not (saved / "MLmodel").is_file():
        shutil.rmtree(saved, ignore_errors=True)
        script = (
            "import sys, joblib, mlflow; mlflow.sklearn.save_model("
            "joblib.load(sys.argv[1]), sys.argv[2], serialization_format='cloudpickle')"
        )
        made = subprocess.run(
            [python, "-c", script, str(model.file), str(saved)], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise EnvironmentMissingError(f"the model could not be saved for MLflow: {made.stderr[-400:]}")
    command = [str(python.with_name("mlflow")), "models", "serve", "--model-uri", str(saved), "--env-manager", "local"]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], {"PATH": path}


def _triton(model: BenchModel, port: int, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    command, environment = _script("triton", "triton_server.py")(model, port, folder)
    return command, {**environment, "PYTRITON_HOME": str(folder)}


OWN_FORMS = {"numbers": forms.OWN, "texts": forms.OWN}

PEERS = (
    Peer(
        OURS, "scoring-operator's runtime", "POST /score; batches of at most 32, no delay; no keys, no access log",
        {"numbers": forms.AZURE, "texts": forms.AZURE, "images": forms.AZURE_IMAGE}, _ours,
    ),
    Peer(
        CONVERTED, "scoring-operator's runtime, accelerate: onnx", "the same, the model converted to ONNX",
        {"numbers": forms.AZURE, "texts": forms.AZURE}, _converted,
    ),
    Peer(
        "kserve", "KServe", "its Model class and ModelServer, V1 JSON; one worker, no gRPC, no latency log",
        {"numbers": forms.V1, "texts": forms.V1}, _script("kserve", "kserve_server.py"), "kserve",
    ),
    Peer(
        "mlserver", "MLServer", "mlserver-sklearn, V2 JSON; adaptive batching 32 / 1 ms, no worker pool",
        {"numbers": forms.V2, "texts": forms.V2_COLUMNS}, _mlserver, "mlserver",
    ),
    Peer(
        "bentoml", "BentoML", "batchable API, at most 32; one worker, access log and metrics off",
        {"numbers": forms.OWN_ROWS, "texts": forms.OWN_ROWS}, _bentoml, "bentoml",
    ),
    Peer(
        "litserve", "LitServe", "batches of at most 32, no delay; one worker, one API server",
        {**OWN_FORMS, "images": forms.OWN_IMAGE}, _script("litserve", "litserve_server.py"), "litserve",
    ),
    Peer(
        "ray", "Ray Serve", "@serve.batch 32 / 0 s, RAY_SERVE_THROUGHPUT_OPTIMIZED=1; one replica, no access log",
        OWN_FORMS, _ray, "ray", seconds=180,
        environment={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0",
                     "RAY_raylet_start_wait_time_s": "120"},
    ),
    Peer(
        "azureml", "Azure ML inference server", "an entry script; one worker (it has no batching)",
        {"numbers": forms.AZURE, "texts": forms.AZURE}, _azureml, "azureml-inference-server-http",
    ),
    Peer(
        "mlflow", "MLflow models serve", "one worker (it has no batching)",
        {"numbers": forms.MLFLOW, "texts": forms.MLFLOW_RECORDS}, _mlflow, "mlflow",
    ),
    Peer(
        "triton", "Triton, Python backend", "by PyTriton, V2 JSON; dynamic batching 32, no delay; C++ front end",
        {"numbers": forms.V2, "texts": forms.V2_PLAIN_COLUMNS, "images": forms.V2_IMAGE}, _triton, "nvidia-pytriton",
        python=False,
    ),
    Peer(
        "yardstick-flask", "Flask sketch on granian", "40 lines: a route, and a thread that scores what waits",
        OWN_FORMS, _script("yardstick-flask", "sketch_server.py", "flask"), yardstick=True,
    ),
    Peer(
        "yardstick-wsgi", "granian answering {}", "plain WSGI, no model: the limit of the HTTP server",
        OWN_FORMS, _script("yardstick-wsgi", "sketch_server.py", "bare"), yardstick=True, checked=False,
    ),
)  # fmt: skip


def server_named(name: str) -> Peer:
    """Return the server of that name."""
    return next(peer for peer in PEERS if peer.name == name)
