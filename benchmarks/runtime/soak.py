"""Ten minutes of hard use: does every answer stay right, and does memory stay where it is?

    python -m benchmarks.runtime.soak [--minutes 10] [--report FILE]

Trains the iris example, serves it with keys on core 0 and, from core 1, measures for some seconds how many requests a
second this client gets answered at most; then asks for 80 % of that for the time given. Meanwhile keys rotate, one
request in twenty is malformed, some clients send slowly, and some go away in the middle of the body or of the answer.
Every answer is compared with the model's own. Exits with 1, and says why, after a wrong answer, a status that is not
the intended one, a good request refused, or growing memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks.runtime.environments import ROOT
from benchmarks.runtime.server import CLIENT_CORE, Launch, Server, free_port, running
from benchmarks.runtime.soak_clients import (
    MALFORMED_EVERY,
    V2,
    Connection,
    Keys,
    Pace,
    Question,
    Tally,
    good_client,
    leaving_client,
    malformed,
    malformed_client,
    question,
    slow_client,
)

CLIENTS, SLOW_CLIENTS, LEAVING_CLIENTS = 32, 8, 2
SHARE = 0.8
MEASURE_SECONDS = 5
ROTATE_SECONDS = 10
# The server looks at its keys once a second.
_KEY_IN_FORCE_SECONDS = 2.5
_SAMPLE_SECONDS = 1
MAX_BODY = 200_000
# Memory after the warm-up may grow by so much in all, and by so much in the second half, where it should be still.
MAX_GROWTH, MAX_LATE_GROWTH = 0.05, 0.02
_WARM_UP_SHARE, _WARM_UP_MOST = 0.25, 60.0
# Of good requests, at 80 % of the maximum, this share may be turned away.
MAX_TURNED_AWAY = 0.001


@dataclass(frozen=True)
class Memory:
    """The server's resident memory over time: seconds since the start, MiB."""

    samples: list[tuple[float, float]]

    def growth(self, start: float, end: float) -> float:
        """Return by which share memory grew between two parts of the time, by a straight line through the samples."""
        length = self.samples[-1][0] if self.samples else 0.0
        part = [sample for sample in self.samples if start * length <= sample[0] <= end * length]
        if len(part) < 2:
            return 0.0
        seconds, mebibytes = np.array(part).T
        slope, first = np.polyfit(seconds - seconds[0], mebibytes, 1)
        return float(slope * (seconds[-1] - seconds[0]) / first)


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--report", type=Path, help="also write the report there, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        train = [sys.executable, str(ROOT / "examples/iris/train.py"), str(folder / "model")]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        report, problems = soak(folder, arguments.minutes * 60)
    print(json.dumps(report, indent=2))
    if arguments.report:
        arguments.report.write_text(json.dumps(report | {"problems": problems}, indent=2) + "\n")
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if problems else 0


def soak(folder: Path, seconds: float) -> tuple[dict[str, Any], list[str]]:
    """Serve the model in `folder`/model and use it for so long; returns the report and what was wrong."""
    cores = os.sched_getaffinity(0)
    (folder / "keys").mkdir()
    keys = Keys("key-0")
    (folder / "keys" / "primary").write_text(keys.current)
    port = free_port()
    launch = Launch([sys.executable, "-m", "scoring_runtime", "serve"], _environment(folder, port), folder)
    questions, large = questions_about(folder / "model" / "model.joblib")
    with running(launch, port, lambda port: _answers(port, questions[0], keys), 60) as server:
        os.sched_setaffinity(0, {int(CLIENT_CORE)} & cores or cores)
        try:
            return asyncio.run(_use(server, folder / "keys", keys, (questions, large), seconds))
        finally:
            os.sched_setaffinity(0, cores)


def questions_about(model_file: Path) -> tuple[list[Question], Question]:
    """Return some hundred requests for one row each and one for many rows, with the model's own answers."""
    model = joblib.load(model_file)
    rows = np.random.default_rng(4).uniform((4, 2, 1, 0), (8, 4.5, 7, 2.6), (400, 4)).round(2)
    expected = model.predict(rows).tolist()
    questions = []
    for number, (row, species) in enumerate(zip(rows.tolist(), expected, strict=True)):
        if number % 4:
            body = json.dumps({"data": [row]}).encode()
            questions.append(question("/score", body, json.dumps([species]).encode()))
        else:
            tensor = {"name": "x", "datatype": "FP64", "shape": [1, 4], "data": row}
            output = {"name": "predict", "datatype": "INT64", "shape": [1], "data": [species]}
            answer = {"model_name": "model", "model_version": "default", "outputs": [output]}
            body = json.dumps({"inputs": [tensor]}).encode()
            questions.append(question(V2, body, json.dumps(answer, separators=(",", ":")).encode()))
    many = np.tile(rows, (5, 1))
    answer_many = json.dumps(model.predict(many).tolist(), separators=(",", ":")).encode()
    return questions, question("/score", json.dumps({"data": many.tolist()}).encode(), answer_many)


def _environment(folder: Path, port: int) -> dict[str, str]:
    settings = {
        "FRAMEWORK": "sklearn",
        "MODEL_PATH": folder / "model",
        "PORT": port,
        "KEYS_DIR": folder / "keys",
        "MAX_BODY_BYTES": MAX_BODY,
        "LOG_LEVEL": "warning",
        "DRAIN_SECONDS": 0,
    }
    return {"PYTHONPATH": str(ROOT / "runtime"), **{f"SCORING_{name}": str(value) for name, value in settings.items()}}


def _answers(port: int, one: Question, keys: Keys) -> bool:
    async def ask() -> tuple[int, bytes]:
        connection = Connection(port)
        try:
            return await connection.ask(one.encoded(keys.current))
        finally:
            connection.close()

    try:
        return asyncio.run(ask()) == (200, one.answer)
    except (OSError, EOFError):
        return False


async def _use(
    server: Server, folder: Path, keys: Keys, asked: tuple[list[Question], Question], seconds: float
) -> tuple[dict[str, Any], list[str]]:
    questions, large = asked
    fastest = Tally()
    await _for(MEASURE_SECONDS, [good_client(server.port, questions, keys, Pace(0), fastest) for _ in range(CLIENTS)])
    most = fastest.good / MEASURE_SECONDS
    tally, memory = Tally(), Memory([])
    rate = SHARE * most
    pace = Pace(rate * (1 - 1 / MALFORMED_EVERY))
    bad = malformed(json.loads(questions[1].body)["data"][0], MAX_BODY)
    started = time.monotonic()
    await _for(
        seconds,
        [
            *(good_client(server.port, questions, keys, pace, tally) for _ in range(CLIENTS)),
            malformed_client(server.port, keys, bad, Pace(rate / MALFORMED_EVERY), tally),
            *(slow_client(server.port, questions, keys, tally) for _ in range(SLOW_CLIENTS)),
            *(leaving_client(server.port, large, keys, tally) for _ in range(LEAVING_CLIENTS)),
            _rotate(folder, keys),
            _watch(server.session, memory, started),
        ],
    )
    report = {
        "maximumPerSecond": round(most),
        "askedPerSecond": round(rate),
        "goodPerSecond": round(tally.good / seconds),
        "seconds": seconds,
        "milliseconds": {name: _percentile(tally.milliseconds, share) for name, share in _PERCENTILES.items()},
        "statuses": dict(sorted(tally.statuses.items())),
        "memoryMebibytes": _about(memory),
        "failures": tally.failed,
    }
    problems = [*fastest.failures, *tally.failures, *judged(tally, memory, seconds)]
    return report, problems


_PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def judged(tally: Tally, memory: Memory, seconds: float) -> list[str]:
    """Return what is wrong with the run as a whole."""
    problems = []
    warm = _warm_up(seconds)
    growth, late = memory.growth(warm, 1), memory.growth(0.5, 1)
    if growth > MAX_GROWTH:
        problems.append(f"memory grew by {growth:.1%} after the warm-up")
    elif late > MAX_LATE_GROWTH:
        problems.append(f"memory still grew by {late:.1%} in the second half")
    for status, count in tally.statuses.items():
        if status.rpartition(" ")[2].startswith("5") and status.rpartition(" ")[2] not in ("503", "504"):
            problems.append(f"{count} times the status {status}")
    turned_away = tally.statuses["503"] + tally.statuses["504"]
    if turned_away > MAX_TURNED_AWAY * max(tally.good, 1):
        problems.append(f"{turned_away} good requests were turned away, at {SHARE:.0%} of the maximum")
    if tally.good == 0:
        problems.append("not one request was answered")
    return problems


def _warm_up(seconds: float) -> float:
    """Return the share of the time in which memory may grow."""
    return min(_WARM_UP_SHARE, _WARM_UP_MOST / seconds)


def _about(memory: Memory) -> dict[str, float]:
    values = [value for _, value in memory.samples] or [0.0]
    return {
        "start": round(values[0], 1),
        "end": round(statistics.median(values[-5:]), 1),
        "most": round(max(values), 1),
        "growthInTheSecondHalfPercent": round(memory.growth(0.5, 1) * 100, 2),
    }


async def _for(seconds: float, work: list[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines that do not end for a time. What one of them raises is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _rotate(folder: Path, keys: Keys) -> None:
    """Replace the older key, and use the new one from when it is in force; the one before stays valid for a period."""
    names = ["secondary", "primary"]
    generation = 0
    while True:
        await asyncio.sleep(ROTATE_SECONDS)
        generation += 1
        file = folder / names[(generation + 1) % 2]
        replaced = file.read_text() if file.exists() else keys.outdated
        key = f"key-{generation}"
        new = folder / "new"
        new.write_text(key)
        new.replace(file)
        await asyncio.sleep(_KEY_IN_FORCE_SECONDS)
        keys.outdated, keys.current = replaced, key


async def _watch(pid: int, memory: Memory, started: float) -> None:
    while True:
        memory.samples.append((time.monotonic() - started, _resident(pid)))
        await asyncio.sleep(_SAMPLE_SECONDS)


def _resident(pid: int) -> float:
    """Return the resident memory of the one process that serves, in MiB (proc(5): statm's second field, in pages)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[int(share * (len(ordered) - 1))], 2) if ordered else 0.0


if __name__ == "__main__":
    sys.exit(main())
