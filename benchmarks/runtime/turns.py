"""Two servers that run at the same time and are measured in turn: what one is beside the other on an uneven machine.

A machine whose neighbours take a share of its cores is half as fast in one minute as in the next. So both run all the
time, and the load goes to one after the other for a second or two: both meet the same machine. And two servers of one
kind differ by up to a tenth for as long as they run, by where their memory happens to lie: so both are started anew
several times. The result is the median of the turns' ratios.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.runtime import forms, load
from benchmarks.runtime.environments import CACHE
from benchmarks.runtime.lineup import Peer
from benchmarks.runtime.load import Endpoint, Figures
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.server import Server, ServerError, free_port, running

WARM_SECONDS = 1
# What a server still has to do when it has given its last answer, it does within this, before the other's turn.
_AFTERMATH_SECONDS = 0.15

_First = TypeVar("_First")
_Second = TypeVar("_Second")


@dataclass(frozen=True)
class Plan:
    """How two servers are measured: by so many clients, how often started, so many turns each time, of so long."""

    clients: int
    starts: int
    turns: int
    seconds: int = 1


@dataclass(frozen=True)
class Turn:
    """One measurement, and the server's CPU time for one request in microseconds."""

    figures: Figures
    cpu: float


@dataclass(frozen=True)
class Turns:
    """Two servers measured in turn, one entry a turn."""

    ours: list[Turn]
    other: list[Turn]

    @property
    def times(self) -> float:
        """The median of the turns' ratios of requests a second, ours to the other."""
        return ratio([one.figures.per_second for one in self.ours], [one.figures.per_second for one in self.other])

    @property
    def cpu(self) -> float:
        """The median of the turns' ratios of CPU time for one request, ours to the other."""
        return ratio([one.cpu for one in self.ours], [one.cpu for one in self.other])


def ratio(ours: list[float], other: list[float]) -> float:
    """Return the median of the ratios of what was measured in the same turns."""
    return statistics.median(mine / theirs for mine, theirs in zip(ours, other, strict=True))


def in_turn(first: Callable[[], _First], second: Callable[[], _Second], turns: int) -> list[tuple[_First, _Second]]:
    """Measure both so often, the one that comes first alternating."""
    pairs = []
    for number in range(turns):
        if number % 2:
            mine = first()
            pairs.append((mine, second()))
        else:
            theirs = second()
            pairs.append((first(), theirs))
    return pairs


@dataclass
class Loaded:
    """A running server, and what it is asked."""

    server: Server
    endpoint: Endpoint
    bodies: Path
    requests: int = 0
    """How many it has answered."""

    def load(self, clients: int, seconds: int) -> Turn:
        """Measure for so long. Raises ServerError when a request fails."""
        before = self.server.cpu_seconds()
        figures = load.wrk(self.endpoint, self.bodies, clients, seconds)
        time.sleep(_AFTERMATH_SECONDS)
        cpu = (self.server.cpu_seconds() - before) / max(figures.requests, 1) * 1e6
        if figures.failed:
            raise ServerError(f"{figures.failed} of {figures.requests} requests failed")
        self.requests += figures.requests
        return Turn(figures, cpu)


def measure_in_turn(
    ours: Callable[[], AbstractContextManager[Loaded]],
    other: Callable[[], AbstractContextManager[Loaded]],
    how: Plan,
) -> Turns:
    """Start both as often as the plan says, and measure them in turn each time."""
    turns = Turns([], [])
    for _ in range(how.starts):
        with other() as theirs, ours() as mine:
            for one in (mine, theirs):
                one.load(how.clients, WARM_SECONDS)
            first, second = partial(mine.load, how.clients, how.seconds), partial(theirs.load, how.clients, how.seconds)
            for of_ours, of_other in in_turn(first, second, how.turns):
                turns.ours.append(of_ours)
                turns.other.append(of_other)
    return turns


@contextmanager
def serving(peer: Peer, model: BenchModel, folder: str, settings: Mapping[str, str] | None = None) -> Iterator[Loaded]:
    """Run a server, with `settings` in its environment, until the block ends; its files are in that folder.

    Raises ServerError when it does not give the model's answer.
    """
    place = folder_of(folder)
    port = free_port()
    endpoint = Endpoint(port, peer.forms[forms.kind_of(model)])
    launch = peer.launch(model, port, place)
    launch = replace(launch, environment={**launch.environment, **(settings or {})})

    def scores(_: int) -> bool:
        return load.answers(endpoint, model.inputs[0], model.answers[0])

    with running(launch, port, scores, peer.seconds) as server:
        yield Loaded(server, endpoint, load.write_bodies(place, endpoint.form, model.inputs))
    shutil.rmtree(place)


def folder_of(name: str) -> Path:
    """Return an empty folder for what one server needs."""
    folder = CACHE / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
