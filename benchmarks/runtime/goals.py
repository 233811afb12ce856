"""What the model server is to reach, as ratios within one run, and whether a run reached it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.runtime.lineup import CONVERTED, OURS
from benchmarks.runtime.measure import Result
from benchmarks.runtime.rivals import FEW, MANY, competitors, fastest, others, pythons

if TYPE_CHECKING:
    from benchmarks.runtime.run import Run

TIMES_PYTHON, TIMES_TRITON, TIMES_ONE_CLIENT = 10, 6, 1.5
TIMES_CONVERTED = 3
SHARE_OF_IMAGES, SHARE_OF_PREDICT, SHARE_COLLECTING = 0.97, 0.90, 0.95


@dataclass(frozen=True)
class Goal:
    """One line of the table."""

    what: str
    measured: str
    wanted: str
    reached: bool

    @property
    def verdict(self) -> str:
        """In a word."""
        return "reached" if self.reached else "**missed**"


def goals(run: Run) -> list[Goal]:
    """Return the goals that this run can say something about."""
    pipeline = {result.peer.name: result for result in run.results if result.model == "pipeline" and not result.problem}
    ours, converted = pipeline.get(OURS), pipeline.get(CONVERTED)
    peers = competitors(list(pipeline.values()))
    found: list[Goal] = []
    if ours is not None and peers and {FEW, MANY} <= ours.figures.keys():
        found += _throughput(run, ours, peers) + _footprint(ours, peers)
    if converted is not None and peers and FEW in converted.figures:
        rival = fastest(peers, FEW)
        times = converted.median(FEW, "per_second") / rival.median(FEW, "per_second")
        found.append(_one_client("pipeline with accelerate: onnx", rival, times, TIMES_CONVERTED))
    return found + _images(run) + _binary(run) + _collection(run)


def _throughput(run: Run, ours: Result, peers: Sequence[Result]) -> list[Goal]:
    found = []
    groups = (
        ("the fastest server written in Python", TIMES_PYTHON, pythons(peers)),
        ("Triton's Python backend", TIMES_TRITON, others(peers)),
    )
    for name, wanted, group in groups:
        if not group:
            continue
        rival = fastest(group, MANY)
        times = _times(run, ours, rival, MANY)
        what = f"pipeline, {MANY} clients, beside {name} ({rival.peer.title})"
        found.append(Goal(what, f"{times:.1f} times", f"at least {wanted}", times >= wanted))
        mine, theirs = ours.median(MANY, "p99"), min(one.median(MANY, "p99") for one in group)
        found.append(
            Goal(f"its p99, beside the best of {name}", f"{mine:.2f} ms, {theirs:.2f} ms", "lower", mine < theirs)
        )
    rival = fastest(peers, FEW)
    return [*found, _one_client("pipeline", rival, _times(run, ours, rival, FEW), TIMES_ONE_CLIENT)]


def _times(run: Run, ours: Result, rival: Result, clients: int) -> float:
    """Return the ratio of requests a second: of turns where both were measured so, or else of the rounds' medians."""
    for one in run.rivals:
        if (one.model, one.peer.name, one.clients) == (ours.model, rival.peer.name, clients):
            return one.turns.times
    return ours.median(clients, "per_second") / rival.median(clients, "per_second")


def _one_client(name: str, rival: Result, times: float, wanted: float) -> Goal:
    what = f"{name}, 1 client, beside the fastest ({rival.peer.title})"
    return Goal(what, f"{times:.2f} times", f"at least {wanted}", times >= wanted)


def _footprint(ours: Result, peers: Sequence[Result]) -> list[Goal]:
    def memory(one: Result) -> float:
        return statistics.median(entry.proportional for entry in one.memory)

    def ready(one: Result) -> float:
        return statistics.median(one.ready)

    leanest, quickest = min(peers, key=memory), min(peers, key=ready)
    return [
        Goal(
            f"memory of the pipeline's server, beside the leanest ({leanest.peer.title})",
            f"{memory(ours):.0f} MiB, {memory(leanest):.0f} MiB", "below", memory(ours) < memory(leanest),
        ),
        Goal(
            f"from start to the first answer, beside the fastest ({quickest.peer.title})",
            f"{ready(ours):.2f} s, {ready(quickest):.2f} s", "below", ready(ours) < ready(quickest),
        ),
    ]  # fmt: skip


def _images(run: Run) -> list[Goal]:
    found = []
    for image in run.images:
        ours = next((one for one in image.results if one.peer.name == OURS and not one.problem), None)
        if ours is None:
            continue
        share = image.share(ours, max(ours.figures))
        what = f"{image.model}, images/s, beside a bare loop of decode + model"
        found.append(Goal(what, f"{share:.1%}", f"at least {SHARE_OF_IMAGES:.0%}", share >= SHARE_OF_IMAGES))
    return found


def _binary(run: Run) -> list[Goal]:
    return [
        Goal(
            f"V2 binary, 1,000 rows of 100 FP32, {one.model}, beside bare `predict`", f"{one.share:.1%}",
            f"at least {SHARE_OF_PREDICT:.0%}", one.share >= SHARE_OF_PREDICT,
        )
        for one in run.binary
    ]  # fmt: skip


def _collection(run: Run) -> list[Goal]:
    if run.collection is None:
        return []
    share = run.collection.times
    what = "pipeline, 32 clients, every request written down, beside the same without"
    return [Goal(what, f"{share:.1%}", f"at least {SHARE_COLLECTING:.0%}", share >= SHARE_COLLECTING)]
