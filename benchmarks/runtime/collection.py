"""The model server with data collection beside itself without, in turn: what writing down every request costs.

Everything is on the server's core: the thread that writes the records is paid by the same core that scores. Both
servers run all the time, and the load goes to one after the other for a second each: both meet the same machine.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.runtime import forms, load
from benchmarks.runtime.environments import CACHE
from benchmarks.runtime.lineup import OURS, PEERS
from benchmarks.runtime.load import Endpoint, Figures
from benchmarks.runtime.measure import WARM_SECONDS
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import Server, ServerError, free_port, running

CLIENTS = 32
# Two servers of one kind differ by up to a tenth for as long as they run, by where their memory happens to lie.
PAIRS = 5
# After the last answer its record is written within this.
_WRITTEN_DOWN_SECONDS = 0.15


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

    @property
    def cpu(self) -> float:
        """The median of the rounds' ratios of CPU time for one request."""
        pairs = zip(self.collecting, self.without, strict=True)
        return statistics.median(mine.cpu / alone.cpu for mine, alone in pairs)


@dataclass
class _Loaded:
    """A running server, and what it is asked."""

    server: Server
    endpoint: Endpoint
    bodies: Path
    records: Path
    requests: int = 0
    sides: list[Side] = field(default_factory=list)

    def load(self, seconds: int) -> Side:
        """Measure for so long. Raises ServerError when a request fails."""
        before = self.server.cpu_seconds()
        figures = load.wrk(self.endpoint, self.bodies, CLIENTS, seconds)
        time.sleep(_WRITTEN_DOWN_SECONDS)
        cpu = (self.server.cpu_seconds() - before) / max(figures.requests, 1) * 1e6
        if figures.failed:
            raise ServerError(f"{figures.failed} of {figures.requests} requests failed")
        self.requests += figures.requests
        return Side(figures, cpu)


def measure_collection(model: BenchModel, rounds: int) -> CollectionResult:
    """Measure so many rounds with each of several pairs of servers. Raises ServerError when a record is missing."""
    result = CollectionResult(model.name, [], [])
    for _ in range(PAIRS):
        _measure_pair(model, rounds, result)
    print(
        f"collection, {model.name}: {result.share:.1%} of the requests a second, {result.cpu:.3f} times the CPU time",
        flush=True,
    )
    return result


def _measure_pair(model: BenchModel, rounds: int, result: CollectionResult) -> None:
    """Start one server of each kind, measure both in turn, the first of each round alternating, and add the rounds."""
    with ExitStack() as running_servers:
        without, collecting = (running_servers.enter_context(_running(model, records)) for records in ("", "records"))
        for one in (without, collecting):
            one.load(WARM_SECONDS)
        for number in range(rounds):
            for one in (without, collecting) if number % 2 else (collecting, without):
                one.sides.append(one.load(1))
    _check(collecting.records, collecting.requests)
    for one in (without, collecting):
        shutil.rmtree(one.bodies.parent)
    result.without.extend(without.sides)
    result.collecting.extend(collecting.sides)


@contextmanager
def _running(model: BenchModel, records: str) -> Iterator[_Loaded]:
    """Run the server until the block ends; it collects if `records` names a folder for it."""
    ours = next(peer for peer in PEERS if peer.name == OURS)
    folder = CACHE / "run" / f"collection-{model.name}{'-' if records else ''}{records}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port = free_port()
    endpoint = Endpoint(port, ours.forms[forms.kind_of(model)])
    launch = ours.launch(model, port, folder)
    if records:
        environment = {**launch.environment, "SCORING_DATA_COLLECTION_URI": f"file://{folder}/{records}"}
        launch = replace(launch, environment=environment)

    def scores(_: int) -> bool:
        return load.answers(endpoint, model.inputs[0], model.answers[0])

    with running(launch, port, scores, ours.seconds) as server:
        bodies = load.write_bodies(folder, endpoint.form, model.inputs)
        yield _Loaded(server, endpoint, bodies, folder / records)


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
