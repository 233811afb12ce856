"""The model server with data collection beside itself without, in turn: what writing down every request costs.

Everything is on the server's core: the thread that writes the records is paid by the same core that scores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.runtime.lineup import OURS, server_named
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import ServerError
from benchmarks.runtime.turns import Loaded, Plan, Turns, folder_of, measure_in_turn, serving

# The effect is small beside what two servers of one kind differ by: many starts, a few turns each.
PLAN = Plan(clients=32, starts=20, turns=4)
QUICK_PLAN = Plan(clients=32, starts=1, turns=2)


def measure_collection(model: BenchModel, plan: Plan = PLAN) -> Turns:
    """Measure the server that collects (`ours`) and the other. Raises ServerError when a record is missing."""
    ours = server_named(OURS)
    turns = measure_in_turn(partial(_collecting, model), partial(serving, ours, model, "not-collecting"), plan)
    print(
        f"collection, {model.name}: {turns.times:.1%} of the requests a second, {turns.cpu:.3f} times the CPU time",
        flush=True,
    )
    return turns


@contextmanager
def _collecting(model: BenchModel) -> Iterator[Loaded]:
    ours = server_named(OURS)
    records = folder_of("records")
    with serving(ours, model, "collecting", {"SCORING_DATA_COLLECTION_URI": f"file://{records}"}) as server:
        yield server
    _check(records, server.requests)
    shutil.rmtree(records)


def _check(records: Path, requests: int) -> None:
    """Raise ServerError unless every request that was counted has its record, and the records are JSON."""
    count = 0
    for file in records.rglob("*.jsonl"):
        lines = file.read_bytes().splitlines()
        count += len(lines)
        last = json.loads(lines[-1])
        if last["status"] != 200 or not last["request"] or last["response"] is None:
            raise ServerError(f"a record is not whole: {last}")
    if count < requests:
        raise ServerError(f"{count} of {requests} requests were written down")
