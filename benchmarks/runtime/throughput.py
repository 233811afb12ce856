"""Requests per second of the model server, one core for it and one for the client.

    python -m benchmarks.runtime.throughput [--seconds 5] [--repeat 3] [--clients 1,32]

Trains the iris example, starts `python -m scoring_runtime serve` on core 0 and measures with wrk (the Debian package)
on core 1. Prints one JSON object a measurement; of `repeat` measurements the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("score.lua")


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int


@contextmanager
def serving(model: Path, settings: dict[str, str]) -> Iterator[Server]:
    """Run the server on core 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "runtime"),
        "SCORING_FRAMEWORK": "sklearn",
        "SCORING_AUTH": "none",
        "SCORING_PORT": str(port),
        "SCORING_MODEL_PATH": str(model),
        "SCORING_DRAIN_SECONDS": "0",
        **settings,
    }
    command = ["taskset", "-c", "0", sys.executable, "-m", "scoring_runtime", "serve"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_ready(f"http://127.0.0.1:{port}/readyz")
        yield Server(f"http://127.0.0.1:{port}/score", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process used, user and system (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_ready(url: str) -> None:
    """Return when the server is ready, at most after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url).close()  # noqa: S310
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)


def measure(server: Server, clients: int, seconds: int) -> dict[str, float]:
    """Run wrk on core 1.

    The result has requests per second, latencies in milliseconds, failed requests, and the server's CPU time for one
    request in microseconds, which tells more than the rate where other programs use the machine too.
    """
    before = cpu_seconds(server.pid)
    command = [
        "taskset",
        "-c",
        "1",
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(SCRIPT),
        server.url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    spent = cpu_seconds(server.pid) - before
    requests = re.search(r"(\d+) requests in", said)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    assert rate is not None, said
    assert requests is not None, said
    return {
        "requestsPerSecond": float(rate[1]),
        "p50Milliseconds": latency(said, "50"),
        "p99Milliseconds": latency(said, "99"),
        "cpuMicroseconds": round(spent / int(requests[1]) * 1e6, 1),
        "failed": int(failed[1]) if failed else 0,
    }


def latency(said: str, percentile: str) -> float:
    """Read one percentile of wrk's table, in milliseconds."""
    found = re.search(rf"\s{percentile}%\s+([\d.]+)(us|ms|s)\s*\n", said)
    assert found is not None, said
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--clients", default="1,32")
    parser.add_argument("--set", action="append", default=[], metavar="SCORING_X=VALUE")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        train = [sys.executable, str(ROOT / "examples/iris/train.py"), folder]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        with serving(Path(folder), dict(pair.split("=", 1) for pair in arguments.set)) as server:
            for clients in map(int, arguments.clients.split(",")):
                runs = [measure(server, clients, arguments.seconds) for _ in range(arguments.repeat)]
                middle = statistics.median_low(run["requestsPerSecond"] for run in runs)
                median = next(run for run in runs if run["requestsPerSecond"] == middle)
                print(json.dumps({"clients": clients, **median}), flush=True)


if __name__ == "__main__":
    main()
