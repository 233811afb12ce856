"""The Open Inference Protocol's binary form: 1,000 rows of 100 FP32 in one request, beside a bare loop of `predict`.

(The binary tensor data extension: a header has the length of the JSON head, the raw little-endian tensor follows it.)
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.runtime import load
from benchmarks.runtime.environments import CACHE
from benchmarks.runtime.forms import HEAD_LENGTH, MODEL, Form
from benchmarks.runtime.lineup import OURS, PEERS
from benchmarks.runtime.load import Endpoint
from benchmarks.runtime.measure import WARM_SECONDS, bare_loop
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import ServerError, free_port, running

CLIENTS = 2


@dataclass(frozen=True)
class BinaryResult:
    """Requests a second of 1,000 rows each, over HTTP and in the bare loop, one entry a round."""

    model: str
    served: list[float]
    bare: list[float]

    @property
    def share(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(mine / alone for mine, alone in zip(self.served, self.bare, strict=True))


def measure_binary(model: BenchModel, rounds: int, seconds: int) -> BinaryResult:
    """Measure the runtime and the bare loop in turn. Raises ServerError when an answer is wrong."""
    rows = np.load(model.folder / "rows.npy")
    expected = np.load(model.folder / "classes.npy")
    body, headers = _request(rows)
    form = Form(f"/v2/models/{MODEL}/infer", lambda _: body, lambda answer: answer, headers)
    served, bare = [], []
    for _ in range(rounds):
        bare.append(bare_loop("predict", model.name, str(seconds))["perSecond"])
        served.append(_served(model, form, expected, seconds))
        print(f"V2 binary, {model.name}: {served[-1]:.1f}/s, bare {bare[-1]:.1f}/s", flush=True)
    return BinaryResult(model.name, served, bare)


def _served(model: BenchModel, form: Form, expected: Any, seconds: int) -> float:
    ours = next(peer for peer in PEERS if peer.name == OURS)
    folder = CACHE / "run" / f"binary-{model.name}"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    endpoint = Endpoint(port, form)
    with running(ours.launch(model, port, folder), port, lambda _: _scores(endpoint, expected), 60):
        bodies = load.write_bodies(folder, form, [None])
        load.wrk(endpoint, bodies, CLIENTS, WARM_SECONDS)
        figures = load.wrk(endpoint, bodies, CLIENTS, seconds)
    shutil.rmtree(bodies)
    if figures.failed:
        raise ServerError(f"{figures.failed} of {figures.requests} binary requests failed")
    return figures.per_second


def _request(rows: Any) -> tuple[bytes, dict[str, str]]:
    raw = rows.astype("<f4").tobytes()
    head = json.dumps({
        "inputs": [{
            "name": "rows", "shape": list(rows.shape), "datatype": "FP32",
            "parameters": {"binary_data_size": len(raw)},
        }],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    return head + raw, {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(len(head))}


def _scores(endpoint: Endpoint, expected: Any) -> bool:
    """Whether the answer is binary and has the class of every row."""
    try:
        connection = endpoint.connect()
        connection.request("POST", endpoint.form.path, endpoint.form.body(None), dict(endpoint.form.headers))
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != 200:
            return False
        length = int(response.headers[HEAD_LENGTH])
        output = json.loads(answer[:length])["outputs"][0]
    except (OSError, http.client.HTTPException, TypeError, ValueError, LookupError):
        return False
    dtype = {"INT64": "<i8", "INT32": "<i4"}[output["datatype"]]
    return bool(np.array_equal(np.frombuffer(answer[length:], dtype), expected))
