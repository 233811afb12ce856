"""The examples' training scripts make models that this runtime serves, the same ones each time."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.frameworks import LoadOptions, load_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "framework", "file"), [("iris", "sklearn", "model.joblib"), ("torch", "pytorch", "model.pt")]
)
def test_training(tmp_path: Path, make_app: Any, example: str, framework: str, file: str) -> None:
    printed = {train(example, tmp_path / str(turn)) for turn in range(1 if example == "torch" else 2)}
    assert printed == {hashlib.sha256((tmp_path / "0" / file).read_bytes()).hexdigest()}
    model = load_model(framework, tmp_path / "0", LoadOptions(device="cpu"))
    sample = json.loads((tmp_path / "0" / "sample-request.json").read_text())
    answer = make_app(model).test_client().post("/score", json=sample).get_json()
    species = answer if framework == "sklearn" else [row.index(max(row)) for row in answer]
    assert species == [0, 1, 2]


def train(example: str, folder: Path) -> str:
    command = [sys.executable, EXAMPLES / example / "train.py", folder]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
