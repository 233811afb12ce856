"""Entry scripts over gRPC: those with a schema take tensors, the others say where to go."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.settings import Settings
from scoring_runtime.web.scripted import script_options
from tests.runtime.rpc_server import Rpc

ROWS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.fixture
def serve(script_folder: Callable[..., Path]) -> Iterator[Callable[[str], Rpc]]:
    """Serve a script of scripts/ by its name."""
    made: list[tuple[Rpc, Any]] = []

    def start(script: str) -> Rpc:
        folder = script_folder(script)
        settings = Settings.model_validate({"auth": "none", "framework": "script", "model_path": folder})
        model: Any = load_model("script", folder, LoadOptions(script=script_options(settings)))
        rpc = Rpc(model, framework="script", model_path=folder)
        made.append((rpc, model))
        return rpc

    yield start
    for rpc, model in made:
        rpc.close()
        model.close()


def tensor(rows: np.ndarray) -> triton.InferInput:
    made = triton.InferInput("data", rows.shape, "FP64")
    made.set_data_from_numpy(rows)
    return made


def test_a_script_with_a_schema(serve: Callable[[str], Rpc]) -> None:
    rpc = serve("schema_numpy")
    described = rpc.triton.get_model_metadata("m", as_json=True)
    assert described["platform"] == "python_script"
    assert [(one["name"], one["datatype"]) for one in described["inputs"]] == [("data", "FP64")]
    answer = rpc.triton.infer("m", [tensor(ROWS)])
    (output,) = answer.get_response().outputs
    assert answer.as_numpy(output.name).tolist() == [6.0, 15.0]
    with pytest.raises(InferenceServerException, match=r"shape \(any, 3\) expected") as refused:
        rpc.triton.infer("m", [tensor(ROWS.T)])
    assert refused.value.status() == f"{grpc.StatusCode.INVALID_ARGUMENT}"
    assert rpc.triton.infer("m", [tensor(ROWS[:1])]).as_numpy(output.name).tolist() == [6.0]


def test_a_script_without_a_schema(serve: Callable[[str], Rpc]) -> None:
    rpc = serve("plain_text")
    assert rpc.triton.is_model_ready("m")
    with pytest.raises(InferenceServerException, match="send them to /score") as refused:
        rpc.triton.infer("m", [tensor(ROWS)])
    assert refused.value.status() == f"{grpc.StatusCode.INVALID_ARGUMENT}"
