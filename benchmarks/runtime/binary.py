"""The Open Inference Protocol's binary form: 1,000 rows of 100 FP32 in one request, beside a bare loop of `predict`.

(The binary tensor data extension: a header has the length of the JSON head, the raw little-endian tensor follows it.)
"""

from __future__ import annotations

import http.client
import json
import shutil
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.runtime import load
from benchmarks.runtime.forms import HEAD_LENGTH, MODEL, Form
from benchmarks.runtime.lineup import OURS, server_named
from benchmarks.runtime.load import Endpoint
from benchmarks.runtime.loops import Predictions
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import free_port, running
from benchmarks.runtime.turns import WARM_SECONDS, Loaded, Plan, folder_of, in_turn, ratio

# As many as it takes to keep the server busy: with two it waits for the next body of 400 kB a tenth of the time.
PLAN = Plan(clients=4, starts=5, turns=6)
QUICK_PLAN = Plan(clients=4, starts=1, turns=2)


@dataclass(frozen=True)
class BinaryResult:
    """Requests a second of 1,000 rows each, over HTTP and in the bare loop, one entry a turn."""

    model: str
    served: list[float]
    bare: list[float]

    @property
    def share(self) -> float:
        """The median of the turns' ratios."""
        return ratio(self.served, self.bare)


def measure_binary(model: BenchModel, plan: Plan = PLAN) -> BinaryResult:
    """Measure the runtime and the bare loop in turn. Raises ServerError when an answer is wrong."""
    rows = np.load(model.folder / "rows.npy")
    expected = np.load(model.folder / "classes.npy")
    body, headers = _request(rows)
    form = Form(f"/v2/models/{MODEL}/infer", lambda _: body, lambda answer: answer, headers)
    result = BinaryResult(model.name, [], [])
    for _ in range(plan.starts):
        _measure(model, form, expected, (plan, result))
    print(f"V2 binary, {model.name}: {result.share:.1%} of the bare loop", flush=True)
    return result


def _measure(model: BenchModel, form: Form, expected: Any, into: tuple[Plan, BinaryResult]) -> None:
    """Start the server and the loop, and add what they give in turn."""
    plan, result = into
    ours = server_named(OURS)
    folder = folder_of(f"binary-{model.name}")
    port = free_port()
    endpoint = Endpoint(port, form)
    with (
        Predictions(model.name) as loop,
        running(ours.launch(model, port, folder), port, lambda _: _scores(endpoint, expected), 60) as server,
    ):
        loaded = Loaded(server, endpoint, load.write_bodies(folder, form, [None]))
        loaded.load(plan.clients, WARM_SECONDS)
        for turn, rate in in_turn(partial(loaded.load, plan.clients, plan.seconds), loop.rate, plan.turns):
            result.served.append(turn.figures.per_second)
            result.bare.append(rate)
    shutil.rmtree(folder)


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
