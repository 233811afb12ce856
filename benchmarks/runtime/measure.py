"""The measurements: rounds of every server with one model, and the bare loops beside them."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.runtime import forms, load, loops
from benchmarks.runtime.environments import CACHE, EnvironmentMissingError
from benchmarks.runtime.lineup import Peer
from benchmarks.runtime.load import Endpoint, Figures
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import Memory, Server, ServerError, free_port, running
from benchmarks.runtime.turns import WARM_SECONDS

VERIFYING_CLIENTS = 16


@dataclass(frozen=True)
class Plan:
    """How long and how often one model is measured."""

    rounds: int
    seconds: int
    """Of each wrk run; for images see `requests`."""
    clients: Sequence[int] = (1, 32)
    requests: int = 0
    """If not 0, so many requests are sent instead, by threads."""


@dataclass
class Result:
    """All rounds of one server with one model."""

    peer: Peer
    model: str
    figures: dict[int, list[Figures]] = field(default_factory=dict)
    """By number of clients."""
    cpu: dict[int, list[float]] = field(default_factory=dict)
    """The server's CPU time for one request, in microseconds, by number of clients."""
    ready: list[float] = field(default_factory=list)
    """Seconds from the process' start to the first right answer."""
    memory: list[Memory] = field(default_factory=list)
    problem: str = ""
    """Why it has no figures."""

    def median(self, clients: int, what: str) -> float:
        """Return the median over the rounds of per_second, p50 or p99."""
        return float(statistics.median(getattr(one, what) for one in self.figures[clients]))


@dataclass(frozen=True)
class ImageResult:
    """The servers with one image model, and the bare loop of decode + model: one entry a round."""

    model: str
    results: list[Result]
    bare: list[dict[str, float]]
    """`perSecond`, `batchSize` (the best) and `p50Milliseconds` of one image."""

    def share(self, result: Result, clients: int) -> float:
        """Return the median of the rounds' ratios of images a second, server to bare loop."""
        pairs = zip(result.figures[clients], self.bare, strict=True)
        return statistics.median(mine.per_second / alone["perSecond"] for mine, alone in pairs)


def measure_images(peers: Sequence[Peer], model: BenchModel, plan: Plan) -> ImageResult:
    """Run the bare loop and every server that takes images, in rounds one after the other."""
    bare: list[dict[str, float]] = []

    def loop() -> None:
        # The best batch size is looked for once.
        known = [str(int(bare[0]["batchSize"]))] if bare else []
        bare.append(loops.images(model.name, str(plan.requests), *known))
        print(f"{model.name:9} bare loop: {bare[-1]}", flush=True)

    return ImageResult(model.name, measure(peers, model, plan, loop), bare)


def measure(
    peers: Sequence[Peer], model: BenchModel, plan: Plan, before_round: Callable[[], None] = lambda: None
) -> list[Result]:
    """Run every server with the model, in rounds one after the other, and return what was measured."""
    kind = forms.kind_of(model)
    results = [Result(peer, model.name) for peer in peers if kind in peer.forms]
    for number in range(plan.rounds):
        before_round()
        for result in results:
            if result.problem:
                continue
            try:
                _one_round(result, model, plan)
            except (ServerError, EnvironmentMissingError, subprocess.SubprocessError, ValueError) as error:
                said = getattr(error, "stderr", None)
                result.problem = f"{error} {said or ''}".strip()
            _say(result, number, plan)
    return results


def _one_round(result: Result, model: BenchModel, plan: Plan) -> None:
    peer = result.peer
    folder = CACHE / "run" / f"{peer.name}-{model.name}"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    endpoint = Endpoint(port, peer.forms[forms.kind_of(model)])

    def scores(_: int) -> bool:
        if not peer.checked:
            return load.listens(endpoint, model.inputs[0])
        return load.answers(endpoint, model.inputs[0], model.answers[0])

    with running(peer.launch(model, port, folder), port, scores, peer.seconds) as server:
        result.ready.append(server.ready_seconds)
        _verify(result, endpoint, model)
        bodies = load.write_bodies(folder, endpoint.form, model.inputs)
        if plan.requests == 0:
            load.wrk(endpoint, bodies, max(plan.clients), WARM_SECONDS)
        result.memory.append(server.memory())
        for clients in plan.clients:
            _load(result, server, endpoint, bodies, (clients, plan))
        _verify(result, endpoint, model)
    shutil.rmtree(bodies)


def _verify(result: Result, endpoint: Endpoint, model: BenchModel) -> None:
    """Raise ServerError unless every answer is the model's own; a fast wrong answer is worth nothing."""
    if not result.peer.checked:
        return
    wrong = load.wrong_answers(endpoint, model.inputs, model.answers, VERIFYING_CLIENTS)
    if wrong:
        raise ServerError(f"{len(wrong)} of {len(model.inputs)} answers are wrong: {wrong[0]}")


def _load(result: Result, server: Server, endpoint: Endpoint, bodies: Path, how: tuple[int, Plan]) -> None:
    clients, plan = how
    before = server.cpu_seconds()
    if plan.requests:
        contents = {int(file.name): file.read_bytes() for file in bodies.iterdir()}
        figures = load.send_all(endpoint, contents, clients, max(plan.requests // (4 if clients == 1 else 1), 4))
    else:
        figures = load.wrk(endpoint, bodies, clients, plan.seconds)
    spent = server.cpu_seconds() - before
    result.figures.setdefault(clients, []).append(figures)
    result.cpu.setdefault(clients, []).append(spent / max(figures.requests, 1) * 1e6)
    if figures.failed:
        raise ServerError(f"{figures.failed} of {figures.requests} requests of {clients} clients failed")


def _say(result: Result, number: int, plan: Plan) -> None:
    head = f"{result.model:9} round {number + 1}/{plan.rounds}  {result.peer.title:28}"
    if result.problem:
        print(f"{head} left out: {result.problem}", flush=True)
        return
    parts = [
        f"{clients} clients: {rounds[-1].per_second:9,.1f}/s p99 {rounds[-1].p99:8.2f} ms, "
        f"CPU {result.cpu[clients][-1]:7.0f} µs"
        for clients, rounds in result.figures.items()
    ]
    ready, memory = result.ready[-1], result.memory[-1]
    print(f"{head} {'; '.join(parts)}; ready {ready:.2f} s; {memory.proportional:.0f} MiB", flush=True)
