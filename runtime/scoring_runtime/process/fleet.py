"""What several serving processes report as one: their load and their metrics.

A scrape reaches one process of several. That one asks the others over sockets in a folder that only this user can
open, and adds up what they say. Nothing is shared while requests are answered, so it costs nothing there.
"""

from __future__ import annotations

import json
import logging
import operator
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from scoring_runtime.batching import Load

# A process that is just being started anew is left out of the sum.
_ANSWER_SECONDS = 1.0
_CHUNK = 65536
# Everything else is added up.
_COMBINED: Mapping[str, Callable[[float, float], float]] = {
    "scoring_ready": min,
    "scoring_model_load_seconds": max,
    "scoring_model_warnings": max,
    "scoring_model_times_faster": min,
    "scoring_model_info": max,
    "process_max_fds": max,
    "process_start_time_seconds": min,
}
_logger = logging.getLogger(__name__)


class Fleet:
    """One process' connection to the others; `number` is its own, of `count`."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self._folder = folder
        self._number = number
        self._count = count
        self._answers: dict[str, Callable[[], bytes]] = {}
        self._server = socket.socket(socket.AF_UNIX)

    def listen(self, answers: Mapping[str, Callable[[], bytes]]) -> None:
        """Answer the others' questions, each a word, from a thread of this process."""
        self._answers = dict(answers)
        path = self._folder / str(self._number)
        path.unlink(missing_ok=True)  # of the process that had this number before
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, name="fleet", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        with suppress(OSError):  # which it is when it never listened
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def ask(self, question: str) -> list[bytes]:
        """Return what each process answers, this one included; without those that do not."""
        answers = [self._answers[question]()]
        for number in range(self._count):
            if number != self._number:
                try:
                    answers.append(self._ask_one(number, question))
                except OSError:
                    continue
        return answers

    def load(self) -> Load:
        """Return the load of all processes together; they must answer "load" as `load_answer` does."""
        loads = [json.loads(answer) for answer in self.ask("load")]
        return Load(*(sum(column) for column in zip(*loads, strict=True)))

    def metrics(self) -> bytes:
        """Return the metrics of all processes together; they must answer "metrics" with an exposition."""
        return merged([answer.decode() for answer in self.ask("metrics")])

    def _ask_one(self, number: int, question: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(self._folder / str(number)))
            connection.sendall(question.encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(_CHUNK), b""))
        if not answer:
            raise OSError(f"process {number} gave no answer")
        return answer

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(_ANSWER_SECONDS)
                    question = connection.recv(_CHUNK).decode().strip()
                    connection.sendall(self._answers[question]())
                except Exception as error:
                    _logger.warning("another process' question failed: %s", type(error).__name__)


def load_answer(load: Load) -> bytes:
    """Write one process' load for the others."""
    return json.dumps([load.busy, load.queued, load.slots]).encode()


def merged(expositions: Sequence[str]) -> bytes:
    """Return Prometheus expositions of one program's processes as one."""
    families: dict[str, Metric] = {}
    for exposition in expositions:
        for family in text_string_to_metric_families(exposition):
            known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            known.samples = _combined(family.name, [*known.samples, *family.samples])
    registry = CollectorRegistry()
    registry.register(_Fixed(families.values()))
    return generate_latest(registry)


def _combined(name: str, samples: Iterable[Sample]) -> list[Sample]:
    # Creation times come as families of their own; the oldest is the one that counts.
    combine = min if name.endswith("_created") else _COMBINED.get(name, operator.add)
    by_series: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
    for sample in samples:
        series = (sample.name, frozenset(sample.labels.items()))
        known = by_series.get(series)
        value = sample.value if known is None else combine(known.value, sample.value)
        by_series[series] = sample._replace(value=value)
    return list(by_series.values())


class _Fixed(Collector):
    """Gives the families that it was given."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
