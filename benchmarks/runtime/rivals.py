"""The model server beside the fastest of its peers, in turn: the ratios that are to be reached.

The rounds of `measure` say who is fastest; a ratio of two figures that were measured minutes apart says less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.runtime.lineup import OURS, PEERS, Peer, server_named
from benchmarks.runtime.measure import Result
from benchmarks.runtime.models import BenchModel
from benchmarks.runtime.turns import Plan, Turns, measure_in_turn, serving

FEW, MANY = 1, 32


@dataclass(frozen=True)
class Rivalry:
    """The server beside one peer, with one number of clients."""

    peer: Peer
    model: str
    clients: int
    turns: Turns


def fastest(results: Sequence[Result], clients: int) -> Result:
    """Return the one with the most requests a second."""
    return max(results, key=lambda one: one.median(clients, "per_second"))


def pythons(peers: Sequence[Result]) -> list[Result]:
    """Return those whose server is written in Python."""
    return [one for one in peers if one.peer.python]


def others(peers: Sequence[Result]) -> list[Result]:
    """Return those whose server is not."""
    return [one for one in peers if not one.peer.python]


def competitors(results: Sequence[Result]) -> list[Result]:
    """Return those that are somebody else's server, and gave the right answers."""
    ours = {peer.name for peer in PEERS if peer.name.startswith(OURS)}
    return [one for one in results if not one.problem and not one.peer.yardstick and one.peer.name not in ours]


def measure_rivals(model: BenchModel, results: Sequence[Result]) -> list[Rivalry]:
    """Measure beside the fastest peers of a run with this model. Raises ServerError when a request fails."""
    peers = competitors([one for one in results if one.model == model.name])
    wanted = [(fastest(group, MANY).peer, MANY) for group in (pythons(peers), others(peers)) if group]
    if peers:
        wanted.append((fastest(peers, FEW).peer, FEW))
    return [_measure(model, peer, clients) for peer, clients in wanted]


def _measure(model: BenchModel, peer: Peer, clients: int) -> Rivalry:
    ours = server_named(OURS)
    turns = measure_in_turn(
        partial(serving, ours, model, "ours-in-turn"),
        partial(serving, peer, model, f"{peer.name}-in-turn"),
        Plan(clients, starts=5, turns=4, seconds=2),
    )
    print(f"{model.name}, {clients} clients, in turn with {peer.title}: {turns.times:.2f} times", flush=True)
    return Rivalry(peer, model.name, clients, turns)
