"""What a model does without any server, in a process of its own on the server's core.

    python -m benchmarks.runtime.bare images MODEL COUNT [BATCH]   decode + model over COUNT images; without a batch
                                                                   size the best one is looked for first
    python -m benchmarks.runtime.bare predict MODEL                predict on the 1,000 rows of rows.npy, for as many
                                                                   seconds as each line of stdin says

The first prints one JSON object, the second for each line how often a second it scored them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.runtime.models import ensure

BATCH_SIZES = (1, 2, 4, 8, 16)


def images(name: str, count: int, size: int = 0) -> dict[str, float]:
    """Return images per second at the best batch size, that size, and the latency of one image in milliseconds."""
    import numpy as np
    import torch

    from benchmarks.runtime.servers.images import TORCH_THREADS, decode, top_classes

    model = ensure(name)
    torch.set_num_threads(TORCH_THREADS)
    network = torch.jit.load(model.file)
    encoded = [Path(path).read_bytes() for path in model.inputs]

    def score(batch: list[bytes]) -> list[Any]:
        with torch.inference_mode():
            stacked = torch.from_numpy(np.stack([decode(one) for one in batch]))
            return [top_classes(logits) for logits in network(stacked).numpy()]

    best = size or _best_size(score, encoded, count)
    score(encoded[:best])
    latencies = [_seconds(lambda: score(encoded[:1])) * 1000 for _ in range(max(count // 8, 3))]
    rate = _images_per_second(score, encoded, best, count)
    return {"perSecond": rate, "batchSize": best, "p50Milliseconds": statistics.median(latencies)}


def _best_size(score: Callable[[list[bytes]], Any], encoded: list[bytes], count: int) -> int:
    rates = {}
    for size in BATCH_SIZES:
        score(encoded[:size])
        rates[size] = _images_per_second(score, encoded, size, max(count // len(BATCH_SIZES), size))
    return max(rates, key=lambda size: rates[size])


def _images_per_second(score: Callable[[list[bytes]], Any], encoded: list[bytes], size: int, count: int) -> float:
    done = 0
    started = time.perf_counter()
    while done < count:
        score([encoded[(done + index) % len(encoded)] for index in range(size)])
        done += size
    return done / (time.perf_counter() - started)


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def predict(name: str) -> None:
    """Score the array of 1,000 rows for as long as each line says, and print how often a second that was."""
    import joblib
    import numpy as np

    model = ensure(name)
    estimator = joblib.load(model.file)
    rows = np.load(model.folder / "rows.npy")
    estimator.predict(rows)
    for line in sys.stdin:
        calls, seconds = 0, float(line)
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            estimator.predict(rows)
            calls += 1
        print(calls / (time.perf_counter() - started), flush=True)


def main() -> None:
    """Run the loop that the command line names."""
    kind, name, *amounts = sys.argv[1:]
    if kind == "images":
        print(json.dumps(images(name, *map(int, amounts))))
    else:
        predict(name)


if __name__ == "__main__":
    main()
