"""The examples' training scripts make models that this runtime serves, the same ones each time."""

import hashlib
import json
import runpy
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from scoring_runtime.frameworks import LoadOptions, load_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "framework", "file"), [("iris", "sklearn", "model.joblib"), ("torch", "pytorch", "model.pt")]
)
def test_training(tmp_path: Path, make_app: Any, example: str, framework: str, file: str) -> None:
    # TorchScript numbers the classes that it saw in a process, so a second run in this one differs by names.
    turns = 1 if framework == "pytorch" else 2
    printed = {run_script(example, tmp_path / str(turn)) for turn in range(turns)}
    assert printed == {hashlib.sha256((tmp_path / "0" / file).read_bytes()).hexdigest()}
    model = load_model(framework, tmp_path / "0", LoadOptions(device="cpu"))
    sample = json.loads((tmp_path / "0" / "sample-request.json").read_text())
    answer = make_app(model).test_client().post("/score", json=sample).get_json()
    species = answer if framework == "sklearn" else [row.index(max(row)) for row in answer]
    assert species == [0, 1, 2]


def run_script(example: str, folder: Path) -> str:
    """Run the script as the command line does, in this process; return what it prints."""
    printed = StringIO()
    script = EXAMPLES / example / "train.py"
    with patch.object(sys, "argv", [str(script), str(folder)]), redirect_stdout(printed):
        runpy.run_path(str(script), run_name="__main__")
    return printed.getvalue().strip()
