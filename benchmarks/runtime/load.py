"""The clients: one that asks for single answers, wrk for servers that answer thousands, threads for slow ones."""

from __future__ import annotations

import http.client
import json
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runtime.forms import Form, same
from benchmarks.runtime.server import CLIENT_CORE

SCRIPT = Path(__file__).with_name("replay.lua")
REQUEST_TIMEOUT_SECONDS = 60
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Figures:
    """What one measurement gave. Latencies in milliseconds."""

    per_second: float
    p50: float
    p99: float
    requests: int
    failed: int
    """Answers other than 2xx, and broken connections."""


@dataclass(frozen=True)
class Endpoint:
    """Where to send requests, in which form."""

    port: int
    form: Form

    def ask(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        """Send one request; return the status and the body of the answer."""
        connection.request("POST", self.form.path, body, dict(self.form.headers))
        response = connection.getresponse()
        return response.status, response.read()

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the server."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_SECONDS)


def answers(endpoint: Endpoint, row: Any, expected: Any) -> bool:
    """Whether the server gives the expected answer to a row now."""
    try:
        connection = endpoint.connect()
        status, body = endpoint.ask(connection, endpoint.form.body(row))
        connection.close()
        return status == 200 and same(endpoint.form.read(json.loads(body)), expected)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return False


def listens(endpoint: Endpoint, row: Any) -> bool:
    """Whether the server answers at all."""
    try:
        connection = endpoint.connect()
        status, _ = endpoint.ask(connection, endpoint.form.body(row))
        connection.close()
    except (OSError, http.client.HTTPException):
        return False
    return status == 200


def wrong_answers(endpoint: Endpoint, rows: Sequence[Any], expected: Sequence[Any], clients: int) -> list[str]:
    """Send all rows from several clients at one time; return a sentence for each answer that is wrong.

    Batches mix requests, so that a server could give one client another one's answer.
    """
    wrong: list[str] = []

    def client(own: range) -> None:
        connection = endpoint.connect()
        for number in own:
            try:
                status, body = endpoint.ask(connection, endpoint.form.body(rows[number]))
                right = status == 200 and same(endpoint.form.read(json.loads(body)), expected[number])
            except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
                wrong.append(f"row {number}: {type(error).__name__} {error}")
                connection = endpoint.connect()
                continue
            if not right:
                wrong.append(f"row {number}: {status}, {body[:200]!r} instead of {expected[number]}")
        connection.close()

    _in_threads([range(start, len(rows), clients) for start in range(clients)], client)
    return wrong


def write_bodies(folder: Path, form: Form, rows: Sequence[Any]) -> Path:
    """Write the bodies that wrk sends; return their folder."""
    bodies = folder / "bodies"
    bodies.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        (bodies / str(number)).write_bytes(form.body(row))
    return bodies


def wrk(endpoint: Endpoint, bodies: Path, clients: int, seconds: int) -> Figures:
    """Send the bodies in turn for so long, each client its next request when it has the answer; one core."""
    count = len(list(bodies.iterdir()))
    headers = [f"{name}: {value}" for name, value in endpoint.form.headers.items()]
    url = f"http://127.0.0.1:{endpoint.port}{endpoint.form.path}"
    command = [
        "taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency",
        "-s", str(SCRIPT), url, "--", str(bodies), str(count), *headers,
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return parse_wrk(said)


def parse_wrk(said: str) -> Figures:
    """Read what wrk prints."""
    requests = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if requests is None or rate is None:
        raise ValueError(f"wrk said something else: {said}")
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = (int(other[1]) if other else 0) + (sum(map(int, sockets.groups())) if sockets else 0)
    return Figures(float(rate[1]), _percentile(said, "50"), _percentile(said, "99"), int(requests[1]), failed)


def _percentile(said: str, percentile: str) -> float:
    found = re.search(rf"\s{percentile}%\s+([\d.]+)(us|ms|s|m)\s*\n", said)
    if found is None:
        raise ValueError(f"wrk said nothing of the {percentile} % percentile: {said}")
    return float(found[1]) * _MILLISECONDS[found[2]]


def send_all(endpoint: Endpoint, bodies: Mapping[int, bytes], clients: int, count: int) -> Figures:
    """Send `count` requests from so many clients; the rate is over the time from the first to the last answer's end.

    For servers that answer a few requests a second, where wrk's fixed time would cut a batch in two.
    """
    latencies: list[float] = []
    failed: list[int] = []
    numbers = iter(range(count))
    lock = threading.Lock()

    def client(_: int) -> None:
        connection = endpoint.connect()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            started = time.perf_counter()
            try:
                status, _body = endpoint.ask(connection, bodies[number % len(bodies)])
            except (OSError, http.client.HTTPException):
                status, connection = 0, endpoint.connect()
            latencies.append((time.perf_counter() - started) * 1000)
            if status != 200:
                failed.append(status)
        connection.close()

    started = time.perf_counter()
    _in_threads(list(range(clients)), client)
    seconds = time.perf_counter() - started
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive")
    return Figures(count / seconds, percentiles[49], percentiles[98], count, len(failed))


def _in_threads(work: Sequence[Any], do: Any) -> None:
    threads = [threading.Thread(target=do, args=(part,)) for part in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
