"""ResNet-152 on a GPU: the model server beside a bare loop of decode + model on the same device.

    python -m benchmarks.runtime.gpu [--images 2000] [--clients 128] [--rounds 3]

Two figures count: images a second (the median of the rounds' ratios, at least 90 %), and how much later than the bare
loop one client has its answer (p50, at most 2 ms). Needs torch with CUDA; says so and ends with 2 where there is none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.runtime import load
from benchmarks.runtime.environments import CACHE
from benchmarks.runtime.forms import AZURE_IMAGE
from benchmarks.runtime.lineup import OURS, server_named
from benchmarks.runtime.load import Endpoint, Figures
from benchmarks.runtime.models import BenchModel, ensure
from benchmarks.runtime.server import ServerError, free_port, running

MODEL = "resnet152"
BATCH_SIZES = (1, 8, 16, 32, 64, 128)
LATENCY_REQUESTS = 200
SHARE, LATER_MILLISECONDS = 0.90, 2.0


class DeviceLoop:
    """Decode + model without a server: threads decode the next batch while the device computes."""

    def __init__(self, model: BenchModel, threads: int) -> None:
        import torch

        from scoring_runtime.frameworks.imageconfig import read_preprocessing
        from scoring_runtime.frameworks.images import decode, to_array

        self._torch = torch
        self._network = torch.jit.load(model.file).to("cuda").eval()
        self._encoded = [Path(path).read_bytes() for path in model.inputs]
        steps = read_preprocessing(model.folder / "preprocessor_config.json")
        self._decode: Callable[[bytes], Any] = lambda file: to_array(decode(file), steps)
        self._pool = ThreadPoolExecutor(threads)

    def latency(self) -> float:
        """Return the median time of one image alone, in milliseconds."""
        self._score([self._decode(self._encoded[0])])
        times = []
        for number in range(LATENCY_REQUESTS):
            started = time.perf_counter()
            self._score([self._decode(self._encoded[number % len(self._encoded)])])
            times.append((time.perf_counter() - started) * 1000)
        return statistics.median(times)

    def per_second(self, size: int, count: int) -> float:
        """Return images a second in batches of `size`."""
        self._score([self._decode(file) for file in self._files(0, size)])
        started = time.perf_counter()
        coming = self._pool.map(self._decode, self._files(0, size))
        for start in range(0, count, size):
            batch, coming = list(coming), self._pool.map(self._decode, self._files(start, size))
            self._score(batch)
        return -(-count // size) * size / (time.perf_counter() - started)

    def _files(self, start: int, size: int) -> list[bytes]:
        return [self._encoded[(start + index) % len(self._encoded)] for index in range(size)]

    def _score(self, batch: list[Any]) -> Any:
        import numpy as np

        with self._torch.inference_mode():
            return self._network(self._torch.from_numpy(np.stack(batch)).to("cuda")).cpu()


def measure(model: BenchModel, count: int, clients: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return the ratios of images a second, and the differences of p50 in milliseconds, one a round."""
    loop = DeviceLoop(model, threads=16)
    best = max(BATCH_SIZES, key=lambda size: loop.per_second(size, max(count // 4, size)))
    ours = server_named(OURS)
    ours = replace(ours, environment={"SCORING_DEVICE": "cuda", "SCORING_BATCH_MAX_SIZE": str(best)})
    folder = CACHE / "run" / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    endpoint = Endpoint(port, AZURE_IMAGE)
    bodies = {number: Path(path).read_bytes() for number, path in enumerate(model.inputs)}
    ratios, later = [], []

    def scores(_: int) -> bool:
        return load.answers(endpoint, model.inputs[0], model.answers[0])

    with running(replace(ours.launch(model, port, folder), cores=""), port, scores, 180):
        load.send_all(endpoint, bodies, clients, count // 2)
        for _ in range(rounds):
            bare, alone = loop.per_second(best, count), loop.latency()
            many = _checked(load.send_all(endpoint, bodies, clients, count))
            one = _checked(load.send_all(endpoint, bodies, 1, LATENCY_REQUESTS))
            ratios.append(many.per_second / bare)
            later.append(one.p50 - alone)
            print(
                f"bare {bare:.0f}/s in batches of {best}, {alone:.2f} ms; "
                f"served {many.per_second:.0f}/s to {clients} clients, {one.p50:.2f} ms to one",
                flush=True,
            )
        wrong = load.wrong_answers(endpoint, model.inputs, model.answers, clients)
    if wrong:
        raise ServerError(f"{len(wrong)} answers are wrong: {wrong[0]}")
    return ratios, later


def _checked(figures: Figures) -> Figures:
    if figures.failed:
        raise ServerError(f"{figures.failed} of {figures.requests} requests failed")
    return figures


def main() -> None:
    """Measure and print, and end with 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print(f"no GPU that torch {torch.__version__} can use: this benchmark needs one", file=sys.stderr)
        sys.exit(2)
    ratios, later = measure(ensure(MODEL), arguments.images, arguments.clients, arguments.rounds)
    share, difference = statistics.median(ratios), statistics.median(later)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{MODEL}, images/s beside the bare device loop: {share:.1%} (at least {SHARE:.0%})")
    print(f"{MODEL}, p50 with one client beside it: {difference:+.2f} ms (at most {LATER_MILLISECONDS:+.0f} ms)")
    sys.exit(0 if share >= SHARE and difference <= LATER_MILLISECONDS else 1)


if __name__ == "__main__":
    main()
