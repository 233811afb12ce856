"""The model server beside its peers: the same model files, one run, one core for the server and one for its clients.

    make bench-runtime                                 all peers, all models: about 45 minutes
    make bench-runtime BENCH_FLAGS="--quick"           short rounds of a few, for development
    make bench-runtime BENCH_FLAGS="--peers ours,kserve --models pipeline"

Installs the peers in environments of their own below ~/.cache/scoring-operator/bench (the first time), makes the models
there, checks every server's answers before and after each measurement, and writes docs/benchmarks/runtime.md with its
table, figures as CSV and a plot. Ratios are the result: the absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence

from benchmarks.runtime import binary, collection
from benchmarks.runtime.environments import EnvironmentMissingError
from benchmarks.runtime.lineup import OURS, PEERS, Peer
from benchmarks.runtime.measure import Plan, measure, measure_images
from benchmarks.runtime.models import BenchModel, ensure
from benchmarks.runtime.report import write
from benchmarks.runtime.rivals import measure_rivals
from benchmarks.runtime.run import Run
from benchmarks.runtime.server import CLIENT_CORE, SERVER_CORE

QUICK_PEERS = (OURS, "kserve", "yardstick-flask", "yardstick-wsgi")
QUICK_MODELS = ("pipeline",)
BINARY, COLLECTION = "binary", "collection"
MODELS = ("pipeline", "forest", "faq", "resnet50", "resnet152", BINARY, COLLECTION)
NEEDED = {BINARY: ("wide", "forest"), COLLECTION: ("pipeline",)}
"""The models of those measurements that are not called by their model."""
PLANS = {
    "pipeline": Plan(rounds=3, seconds=3),
    "forest": Plan(rounds=2, seconds=2),
    "faq": Plan(rounds=2, seconds=2),
    "resnet50": Plan(rounds=3, seconds=0, clients=(1, 8), requests=48),
    "resnet152": Plan(rounds=3, seconds=0, clients=(1, 8), requests=32),
}
QUICK_PLAN = Plan(rounds=1, seconds=2)
QUICK_IMAGES = Plan(rounds=1, seconds=0, clients=(1, 8), requests=16)


def main() -> None:
    """Read the command line, measure, write the report."""
    arguments = _arguments()
    peers = [peer for peer in PEERS if peer.name in arguments.peers]
    _check_machine()
    run = Run(" ".join(["python -m benchmarks.runtime", *sys.argv[1:]]))
    models = _prepare(run, peers, arguments.models)
    peers = [peer for peer in peers if peer.name not in run.missing]
    if arguments.prepare:
        return
    run.load_before = os.getloadavg()[0]
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    started = time.monotonic()
    for name in arguments.models:
        if name == BINARY:
            plan = binary.QUICK_PLAN if arguments.quick else binary.PLAN
            run.binary = [binary.measure_binary(models[wide], plan) for wide in NEEDED[BINARY]]
        elif name == COLLECTION:
            plan = collection.QUICK_PLAN if arguments.quick else collection.PLAN
            run.collection = collection.measure_collection(models["pipeline"], plan)
        elif name.startswith("resnet"):
            run.images.append(measure_images(peers, models[name], QUICK_IMAGES if arguments.quick else PLANS[name]))
        else:
            # What answers {} does so whatever the model is.
            measured = [peer for peer in peers if peer.checked or name == MODELS[0]]
            run.results += measure(measured, models[name], QUICK_PLAN if arguments.quick else PLANS[name])
            if name == MODELS[0] and not arguments.quick:
                run.rivals = measure_rivals(models[name], run.results)
    run.minutes = (time.monotonic() - started) / 60
    write(run, keep=not arguments.quick)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short rounds, few peers; prints and writes no docs")
    parser.add_argument("--prepare", action="store_true", help="install the peers and make the models, measure nothing")
    parser.add_argument("--peers", help=f"of {','.join(peer.name for peer in PEERS)}")
    parser.add_argument("--models", help=f"of {','.join(MODELS)}")
    arguments = parser.parse_args()
    everything = QUICK_PEERS if arguments.quick else tuple(peer.name for peer in PEERS)
    arguments.peers = _chosen(parser, arguments.peers, everything, [peer.name for peer in PEERS])
    arguments.models = _chosen(parser, arguments.models, QUICK_MODELS if arguments.quick else MODELS, MODELS)
    return arguments


def _chosen(
    parser: argparse.ArgumentParser, given: str | None, default: Sequence[str], known: Sequence[str]
) -> Sequence[str]:
    names = given.split(",") if given else list(default)
    unknown = set(names) - set(known)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    return names


def _check_machine() -> None:
    """End with a sentence where the measurement cannot be made."""
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        sys.exit("wrk or taskset is missing: bash devcluster/system-packages.sh bench")
    if not {int(SERVER_CORE), int(CLIENT_CORE)} <= os.sched_getaffinity(0):
        sys.exit(f"cores {SERVER_CORE} and {CLIENT_CORE} are needed, one for the server and one for its clients")


def _prepare(run: Run, peers: Sequence[Peer], models: Sequence[str]) -> dict[str, BenchModel]:
    """Install the peers and make the models; what cannot be installed is reported, and the rest goes on."""
    for peer in peers:
        try:
            peer.install()
        except EnvironmentMissingError as error:
            run.missing[peer.name] = str(error)
            print(f"{peer.title} is left out: {error}", flush=True)
    wanted = {one for name in models for one in NEEDED.get(name, (name,))}
    return {name: ensure(name) for name in sorted(wanted)}


if __name__ == "__main__":
    main()
