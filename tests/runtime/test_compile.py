"""`accelerate: compile`: what torch.compile makes of a network is used where it answers the same, and sooner.

The compiler itself takes half a minute of a core, and is left to the slow tests: elsewhere PyTorch's own backend for
finding mistakes stands in its place, which compiles nothing and runs what torch.compile found.

case                                     expected
a program, with a sample or without      the network's own answers; metadata and log say that it is compiled
as many rows as nobody compiled for      answered, and nothing is compiled then
an image model                           the same around its preprocessing (texts: tests/frameworks)
TorchScript, no compiler, no sample      the network itself, and why
other answers, slower, a broken backend  the network itself, and why
the real compiler, one that is missing   compiled; the reason (each in a process of its own)
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.frameworks.accelerate import compiling
from scoring_runtime.tensors import Tensors, object_array
from tests import pictures
from tests.runtime.answers import score

ROWS = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Network(torch.nn.Module):
    """Two layers, of which the last may answer otherwise once it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.second(torch.relu(self.first(x))), dim=1)


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiling, "_BACKEND", "eager")
    monkeypatch.setattr(compiling, "times_faster", lambda *calls: 2.0)
    monkeypatch.setenv("CXX", sys.executable)
    yield
    torch.compiler.set_stance("default")
    torch.compiler.reset()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    rows = torch.export.Dim("rows", min=1, max=1024)
    exported = torch.export.export(Network().eval(), (torch.zeros(2, 4),), dynamic_shapes=({0: rows},))
    torch.export.save(exported, folder / "model.pt2")
    return folder


def compiled(path: Path, **options: Any) -> Any:
    return load_model("pytorch", path, LoadOptions(**{"device": "cpu", "accelerate": "compile", **options}))


def reason(model: Any) -> str:
    """Why the model itself answers."""
    assert model.parameters["accelerate"] == "none"
    assert model.warnings == (model.parameters["accelerate_reason"],)
    return str(model.parameters["accelerate_reason"])


@pytest.mark.parametrize("sample", [None, (Tensors((ROWS[:3].astype(float),)), "")], ids=["made up", "sample"])
def test_a_compiled_program(program: Path, sample: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = compiled(program, sample=sample)
    assert model.parameters["accelerate"] == "compile"
    assert model.parameters["accelerate_times_faster"] == 2
    assert model.warnings == ()
    assert "one row is 2.0 times faster" in caplog.text
    own = load_model("pytorch", program, LoadOptions(device="cpu"))
    for count in (1, 2, 100):
        np.testing.assert_allclose(score(model, ROWS[:count]).arrays[0], score(own, ROWS[:count]).arrays[0], rtol=1e-5)


def test_nothing_is_compiled_while_a_client_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without an axis of rows of its own, the program would be compiled for every other number of columns.
    graphs = []

    def backend(graph: Any, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "_BACKEND", backend)
    columns = torch.export.Dim("columns", min=2, max=64)
    rows = torch.export.Dim("rows", min=1, max=64)
    exported = torch.export.export(
        torch.nn.Softmax(dim=1), (torch.zeros(2, 4),), dynamic_shapes=({0: rows, 1: columns},), strict=False
    )
    torch.export.save(exported, tmp_path / "model.pt2")
    model = compiled(tmp_path, sample=(Tensors((ROWS[:1],)), ""))
    assert model.parameters["accelerate"] == "compile"
    before = len(graphs)
    assert before > 0
    for width in (2, 4, 50):
        assert score(model, np.ones((5, width), np.float32)).arrays[0].shape == (5, width)
    assert len(graphs) == before


def test_an_image_model(tmp_path: Path) -> None:
    rows = torch.export.Dim("rows", min=1, max=64)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    side = pictures.SIDE
    exported = torch.export.export(network, (torch.zeros(2, 3, side, side),), dynamic_shapes=({0: rows},))
    torch.export.save(exported, tmp_path / "model.pt2")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pictures.CONFIG))
    (tmp_path / "labels.json").write_text(json.dumps(pictures.LABELS))
    assert "put a sample-request.json beside the model" in reason(compiled(tmp_path))
    files = object_array(pictures.FILES)
    model = compiled(tmp_path, sample=(Tensors((files[:1],)), ""))
    assert model.parameters["accelerate"] == "compile"
    own = load_model("pytorch", tmp_path, LoadOptions(device="cpu"))
    for method in ("predict_proba", "logits"):
        found, expected = (score(one, files, method=method).arrays[0] for one in (model, own))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_is_left_as_it_is(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.jit.trace(Network().eval(), torch.zeros(2, 4)).save(str(tmp_path / "model.pt"))
    assert "save the model with torch.export" in reason(compiled(tmp_path))
    (tmp_path / "model.pt").unlink()

    columns = torch.export.Dim("columns", min=2, max=64)
    exported = torch.export.export(torch.nn.Softmax(dim=1), (torch.zeros(2, 4),), dynamic_shapes=({1: columns},))
    torch.export.save(exported, tmp_path / "model.pt2")
    assert "put a sample-request.json beside the model" in reason(compiled(tmp_path))

    monkeypatch.setattr(compiling, "times_faster", lambda *calls: 0.5)
    assert "one row takes 2.0 times as long when it is compiled" in reason(compiled(program))


def test_other_answers_and_broken_backends(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Any, example: Any) -> Any:
        return lambda *given: [graph.forward(*given)[0] * 1.001]

    monkeypatch.setattr(compiling, "_BACKEND", wrong)
    model = compiled(program)
    assert "its answers differ by 0.001 of their size" in reason(model)
    own = load_model("pytorch", program, LoadOptions(device="cpu"))
    np.testing.assert_array_equal(score(model, ROWS).arrays[0], score(own, ROWS).arrays[0])
    torch.compiler.reset()

    def broken(graph: Any, example: Any) -> Any:
        raise OSError("no room left in /tmp")

    monkeypatch.setattr(compiling, "_BACKEND", broken)
    assert "no room left in /tmp" in reason(compiled(program))


LOAD = """
import json, sys
from pathlib import Path
from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.frameworks.accelerate import compiling
compiling.times_faster = lambda *calls: 2.0
model = load_model("pytorch", Path(sys.argv[1]), LoadOptions(device="cpu", accelerate="compile"))
print(json.dumps(dict(model.parameters)))
"""


def loaded_apart(program: Path, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", LOAD, str(program)]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_the_real_compiler(program: Path, tmp_path: Path) -> None:
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    without = loaded_apart(program, PATH=str(tmp_path), CXX="", CC="", **cache)
    assert without["accelerate"] == "none"
    assert "no C++ compiler; use one with g++ and python3-dev" in without["accelerate_reason"]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which("g++") is None or not headers.exists():
        pytest.skip("g++ and Python's headers are missing")
    found = loaded_apart(program, CXX="g++", **cache)
    assert found["accelerate"] == "compile", found
    assert found["accelerate_largest_difference"] < 1e-4
