"""Prometheus metrics, in a registry of their own so that two apps in one process do not meet.

`METRICS` is the list that `docs/runtime.md` must cover; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class Metrics:
    """Everything that is counted. Durations are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "scoring_requests", "Requests to score, by HTTP status.", ["code"], registry=self.registry
        )
        self._errors = Counter(
            "scoring_errors", "Refused or failed requests, by code.", ["code"], registry=self.registry
        )
        self._latency = Histogram(
            "scoring_request_seconds",
            "From the request's headers to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._wait = Histogram(
            "scoring_queue_wait_seconds",
            "How long a request waited for the model.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._predict = Histogram(
            "scoring_predict_seconds",
            "How long the model took for one batch.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram("scoring_batch_rows", "Rows in one batch.", buckets=_ROWS, registry=self.registry)
        self._by_status: dict[int, Counter] = {}
        ProcessCollector(registry=self.registry)

    def request_done(self, status: int, code: str, seconds: float) -> None:
        """Count one request to score: its HTTP status, its error's code if any, its duration."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._requests.labels(code=str(status))
        counter.inc()
        self._latency.observe(seconds)
        if code:
            self._errors.labels(code=code).inc()

    def batch_done(self, rows: int, waits: Sequence[float], seconds: float) -> None:
        """Count one batch; see `batching.Observer`."""
        self._rows.observe(rows)
        self._predict.observe(seconds)
        for wait in waits:
            self._wait.observe(wait)

    def watch(self, serving: Serving, settings: Settings) -> None:
        """Add what is read from the serving model at the moment of a scrape."""
        self.registry.register(_ServingCollector(serving, settings))

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _ServingCollector(Collector):
    def __init__(self, serving: Serving, settings: Settings) -> None:
        self._serving = serving
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        load = self._serving.load_report()
        yield GaugeMetricFamily("scoring_slots", "Requests that may be in scoring at one time.", load.slots)
        yield GaugeMetricFamily("scoring_busy", "Requests that hold a slot now.", load.busy)
        yield GaugeMetricFamily("scoring_queued", "Requests that wait for a slot now.", load.queued)
        ready = float(self._serving.state == "ready")
        yield GaugeMetricFamily("scoring_ready", "1 when the model is loaded and not draining.", ready)
        seconds = self._serving.load_seconds
        yield GaugeMetricFamily("scoring_model_load_seconds", "How long loading the model took.", seconds)
        notes = len(self._serving.warnings)
        yield GaugeMetricFamily(
            "scoring_model_warnings", "Warnings of the load, such as another library version.", notes
        )
        info = GaugeMetricFamily("scoring_model_info", "Always 1.", labels=["name", "version", "framework"])
        settings = self._settings
        info.add_metric([settings.model_name, settings.model_version, settings.framework or ""], 1)
        yield info
