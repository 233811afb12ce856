"""The model server with data collection beside itself without, in turn: what writing down every request costs.

Everything is on the server's core: the thread that writes the records is paid by the same core that scores.
"""

from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.runtime import forms, load
from benchmarks.runtime.environments import CACHE
from benchmarks.runtime.lineup import OURS, PEERS
from benchmarks.runtime.load import Endpoint, Figures
from benchmarks.runtime.measure import WARM_SECONDS
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import ServerError, free_port, running

CLIENTS = 32


@dataclass(frozen=True)
class Side:
    """One measurement, and the server's CPU time for one request in microseconds."""

    figures: Figures
    cpu: float


@dataclass(frozen=True)
class CollectionResult:
    """What one model gave without and with collecting every request, one entry a round."""

    model: str
    without: list[Side]
    collecting: list[Side]

    @property
    def share(self) -> float:
        """The median of the rounds' ratios of requests a second."""
        pairs = zip(self.collecting, self.without, strict=True)
        return statistics.median(mine.figures.per_second / alone.figures.per_second for mine, alone in pairs)


def measure_collection(model: BenchModel, rounds: int, seconds: int) -> CollectionResult:
    """Measure both in turn, the first of each round alternating. Raises ServerError when a record is missing."""
    result = CollectionResult(model.name, [], [])
    for number in range(rounds):
        for collecting in (bool(number % 2), not number % 2):
            (result.collecting if collecting else result.without).append(_round(model, seconds, collecting))
        with_it, without = result.collecting[-1], result.without[-1]
        print(
            f"collection, {model.name}: {with_it.figures.per_second:,.0f}/s, CPU {with_it.cpu:.1f} µs; "
            f"without {without.figures.per_second:,.0f}/s, CPU {without.cpu:.1f} µs",
            flush=True,
        )
    return result


def _round(model: BenchModel, seconds: int, collecting: bool) -> Side:
    ours = next(peer for peer in PEERS if peer.name == OURS)
    folder = CACHE / "run" / f"collection-{model.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = free_port()
    endpoint = Endpoint(port, ours.forms[forms.kind_of(model)])
    launch = ours.launch(model, port, folder)
    records = folder / "records"
    if collecting:
        environment = {**launch.environment, "SCORING_DATA_COLLECTION_URI": f"file://{records}"}
        launch = replace(launch, environment=environment)

    def scores(_: int) -> bool:
        return load.answers(endpoint, model.inputs[0], model.answers[0])

    with running(launch, port, scores, ours.seconds) as server:
        bodies = load.write_bodies(folder, endpoint.form, model.inputs)
        warm = load.wrk(endpoint, bodies, CLIENTS, WARM_SECONDS)
        before = server.cpu_seconds()
        figures = load.wrk(endpoint, bodies, CLIENTS, seconds)
        cpu = (server.cpu_seconds() - before) / max(figures.requests, 1) * 1e6
    if figures.failed:
        raise ServerError(f"{figures.failed} of {figures.requests} requests failed")
    if collecting:
        _check(records, warm.requests + figures.requests)
    shutil.rmtree(folder)
    return Side(figures, cpu)


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
