"""The server keeps to its own description, whatever is sent to it (schemathesis, as a program beside the server).

Requests are made from /swagger.json: its examples, the edges of its schemas, and random ones, right and wrong. Whatever
is answered is no fault of the server (5xx), and has a status, a content type and a body as described. The examples
themselves are scored, by each protocol: otherwise all that is looked at might be refusals.

model                                     of
scikit-learn, four numbers                a row of numbers
ONNX, a text and a number, two outputs    columns by name
PyTorch, an image                         a file in base64
"""

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Edges of the schemas alone are some hundred requests.
ENOUGH = 300
# For each path, beside those.
RANDOM = "60"


def examine(server: Any, folder: Path, version: str) -> None:
    """Run schemathesis; its report is what a failure shows."""
    description = f"http://127.0.0.1:{server.port}/swagger.json?version={version}"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", description),
        *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", RANDOM),
        *("--generation-deterministic", "--request-timeout", str(PATIENCE), "--no-color"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + server.log.read_text()[-2000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted is not None, done.stdout
    assert int(counted[1]) == int(counted[2]) > ENOUGH


def assert_examples_are_scored(server: Any) -> None:
    paths = json.loads(server.request("GET", "/swagger.json")[2])["paths"]
    examples = {
        path: operation["post"]["parameters"][0]["schema"]["example"]
        for path, operation in paths.items()
        if "post" in operation
    }
    assert len(examples) == 5
    for path, example in examples.items():
        status, _, body = server.request("POST", path, json.dumps(example).encode())
        assert status == 200, (path, example, body)


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text and a number in; a class and its probabilities out."""
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    folder = tmp_path_factory.mktemp("columns")
    table = pd.DataFrame({"city": ["Bonn", "Ulm", "Bonn", "Kiel"], "age": [20.0, 30.0, 40.0, 50.0]})
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression()).fit(table, [0, 1, 0, 1])
    types = [("city", StringTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = to_onnx(model, initial_types=types, options={"zipmap": False})
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", ["2", "3", "3.1"])
@pytest.mark.parametrize("model", ["iris_folder", "columns", "photos_folder"])
def test_many_requests(
    start_server: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path, model: str, version: str
) -> None:
    framework = {"iris_folder": "sklearn", "columns": "onnx", "photos_folder": "pytorch"}[model]
    server = start_server(request.getfixturevalue(model), framework=framework).wait_ready()
    assert_examples_are_scored(server)
    examine(server, tmp_path, version)
    server.close()
