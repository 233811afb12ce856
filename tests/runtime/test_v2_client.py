"""Triton's own client, the most used one of the protocol, against a real server: JSON and binary, in and out."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from scoring_runtime.protocols.datatypes import DTYPES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

FLOWERS = load_iris().data[::15]


@pytest.fixture(scope="module")
def client(start_server: Callable[..., Any], iris_folder: Path) -> Iterator[Any]:
    server = start_server(iris_folder, model_name="iris", model_version="1", path_prefix="/team").wait_ready()
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}/team") as client:
        yield client


def tensor(rows: Any, datatype: str, binary: bool) -> Any:
    made = triton.InferInput("input", list(rows.shape), datatype)
    made.set_data_from_numpy(rows, binary_data=binary)
    return made


@pytest.mark.parametrize(("binary_in", "binary_out"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT32"])
def test_infer(client: Any, iris_model: Any, datatype: str, binary_in: bool, binary_out: bool) -> None:
    dtype = DTYPES[datatype]
    rows = FLOWERS.astype(dtype)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("predict", "predict_proba")]
    result = client.infer("iris", [tensor(rows, datatype, binary_in)], outputs=outputs, request_id="a-1")
    estimator = iris_model._estimator
    given = rows if datatype == "FP32" else rows.astype(np.float64)
    np.testing.assert_array_equal(result.as_numpy("predict"), estimator.predict(given))
    np.testing.assert_allclose(result.as_numpy("predict_proba"), estimator.predict_proba(given), rtol=1e-6)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("a-1", "iris", "1")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, algorithm: str) -> None:
    rows = np.tile(FLOWERS.astype(np.float32), (40, 1))
    result = client.infer(
        "iris",
        [tensor(rows, "FP32", True)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy("predict").shape == (400,)


def test_versions_and_parameters(client: Any) -> None:
    given = [tensor(FLOWERS, "FP64", True)]
    result = client.infer("iris", given, model_version="1", parameters={"method": "predict_proba"})
    assert result.as_numpy("predict_proba").shape == (10, 3)
    with pytest.raises(InferenceServerException, match="nothing at /v2/models/iris/versions/2/infer"):
        client.infer("iris", given, model_version="2")
    with pytest.raises(InferenceServerException, match="expects 4 features a row; got 2"):
        client.infer("iris", [tensor(FLOWERS[:, :2].copy(), "FP64", True)])


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "1")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("iris")["versions"] == ["1"]
