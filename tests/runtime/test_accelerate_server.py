"""`SCORING_ACCELERATE=onnx` in real server processes: one, and two that share a port."""

from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.datasets import load_iris

FLOWERS = load_iris().data[::10]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_converted_model_answers(start_server: Any, iris_folder: Path, processes: int) -> None:
    """Beside it is a sample request, which is compared first."""
    server = start_server(iris_folder, accelerate="onnx", processes=processes, model_name="iris").wait_ready()
    own = joblib.load(iris_folder / "model.joblib").predict(FLOWERS).tolist()
    for _ in range(4):
        assert server.score(FLOWERS.tolist()) == (200, own)
    status, _, body = server.request("GET", "/v2/models/iris")
    metrics = server.request("GET", "/metrics")[2].decode()
    assert status == 200
    # On a machine that is busy with other things the conversion may seem to be slower.
    assert b'"accelerate":"onnx"' in body or b"times as long when it is converted" in body
    assert "scoring_model_times_faster " in metrics
