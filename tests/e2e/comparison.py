"""A served model's answers beside its library's own: many rows, through V2's binary tensors and through /score."""

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tests.e2e.client import IngressClient

RANDOM_ROWS = np.random.default_rng(2026).uniform((4, 2, 1, 0), (8, 5, 7, 3), (1000, 4)).astype(np.float32)
"""Measures of flowers that nobody has seen, [1000, 4] float32: JSON and float64 hold them as they are."""

Answers = Mapping[str, Any]
"""Method → an array with one entry a row, or such arrays by the names of the outputs."""


def compare(client: IngressClient, model: str, inputs: Mapping[str, Any], own: Answers) -> None:
    """Fail unless V2 and /score answer `own` to the inputs; classes exactly, floats but for the rounding of float32."""
    expected = {
        name: values
        for method, answer in own.items()
        for name, values in (answer.items() if isinstance(answer, Mapping) else [(method, answer)])
    }
    answered = v2_binary(client, model, inputs, expected)
    for name, values in expected.items():
        assert_equal(answered[name], values, f"{name} of V2")
    data = next(iter(inputs.values())).tolist()
    for method, answer in own.items():
        body = score(client, {"data": data, "method": method})
        outputs = answer if isinstance(answer, Mapping) else {method: answer}
        found = body if len(outputs) > 1 else dict.fromkeys(outputs, body)
        assert found.keys() == outputs.keys()
        for name, values in outputs.items():
            assert_equal(np.array(found[name]), values, f"{name} of /score")


def score(client: IngressClient, document: Any) -> Any:
    """The parsed body with which /score answers a JSON document."""
    headers = {"Content-Type": "application/json"}
    answer = client.request("POST", "score", body=json.dumps(document).encode(), headers=headers)
    assert answer.status == 200, answer
    return answer.body


def v2_binary(
    client: IngressClient, model: str, inputs: Mapping[str, Any], outputs: Iterable[str]
) -> Mapping[str, np.ndarray]:
    """The named outputs that V2 answers to the inputs, both sent as binary tensors by Triton's own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
        from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, values in inputs.items():
        tensors.append(InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
        tensors[-1].set_data_from_numpy(values)
    asked = [InferRequestedOutput(name, binary_data=True) for name in outputs]
    body, length = InferenceServerClient.generate_request_body(tensors, outputs=asked)
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
    answer = client.request("POST", f"v2/models/{model}/infer", body=body, headers=headers)
    assert answer.status == 200, answer
    header = int(answer.headers["Inference-Header-Content-Length"])
    parsed = InferenceServerClient.parse_response_body(answer.body, header_length=header)
    return {output.name(): parsed.as_numpy(output.name()) for output in asked}


def assert_equal(found: np.ndarray, own: np.ndarray, what: str) -> None:
    """Fail unless the arrays have one shape and the same values."""
    assert found.shape == own.shape, what
    if own.dtype.kind == "f":
        np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-6, err_msg=what)
    else:
        np.testing.assert_array_equal(found, own, err_msg=what)
