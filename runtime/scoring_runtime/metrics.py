"""Prometheus metrics, in a registry of their own so that two apps in one process do not meet.

A request only notes what happened, in a list; the numbers are made of many notes at one time, every few hundred
requests and before each scrape. A histogram that locks and searches for each value would take a tenth of the time that
a small model's request takes.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from scoring_runtime.protocols.call import Explained

if TYPE_CHECKING:
    from scoring_runtime.batching import Load
    from scoring_runtime.collection.collector import Collector as DataCollector
    from scoring_runtime.serving import Serving
    from scoring_runtime.settings import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONDITIONAL = {
    "scoring_gpu_memory_allocated_bytes": "the model is on a GPU",
    "scoring_gpu_memory_reserved_bytes": "the model is on a GPU",
    "scoring_gpu_memory_total_bytes": "the model is on a GPU",
    "scoring_model_times_faster": "SCORING_ACCELERATE is onnx",
    "scoring_data_collection_records_total": "data is collected",
    "scoring_data_collection_dropped_total": "data is collected",
    "scoring_data_collection_failed_writes_total": "data is collected",
    "scoring_trace_spans_exported_total": "traces are exported",
    "scoring_trace_spans_dropped_total": "traces are exported",
}
"""Metrics that are not always there, and when they are. `docs/runtime.md` covers these and all others."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
# So many notes are turned into numbers at once: often enough that they take no memory to speak of.
_NOTES = 512


class _Histogram:
    """Counts values by size. `bounds` are the upper ends of the buckets, the last of which is endless."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Count each of `values`."""
        array = np.array(list(values), dtype=np.float64)
        # A value that equals a bound belongs to the bucket below it: `le` means less or equal.
        buckets = np.searchsorted(self._bounds, array, side="left")
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self._sum += float(array.sum())

    def family(self) -> Metric:
        """Return what a scrape sees."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True))
        return HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


class Metrics(Collector):
    """Everything that is counted. Durations are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests: deque[tuple[str, int, str, float]] = deque()
        self._batches: deque[tuple[int, Sequence[float], float]] = deque()
        self._settling = threading.Lock()
        self._by_status: Counter[tuple[str, int]] = Counter()
        self._by_code: Counter[str] = Counter()
        self._latency = _Histogram("scoring_request_seconds", "From the request's headers to its answer.", _SECONDS)
        self._wait = _Histogram("scoring_queue_wait_seconds", "How long a request waited for the model.", _SECONDS)
        self._predict = _Histogram("scoring_predict_seconds", "How long the model took for one batch.", _SECONDS)
        self._rows = _Histogram("scoring_batch_rows", "Rows in one batch.", _ROWS)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def request_done(self, status: int, code: str, seconds: float, protocol: str = "") -> None:
        """Count one request to score: its HTTP status, its error's code if any, its duration, its protocol."""
        notes = self._requests
        notes.append((protocol, status, code, seconds))
        if len(notes) >= _NOTES:
            self._settle()

    def batch_done(self, rows: int, waits: Sequence[float], seconds: float) -> None:
        """Count one batch; see `batching.Observer`."""
        notes = self._batches
        notes.append((rows, waits, seconds))
        if len(notes) >= _NOTES:
            self._settle()

    def watch(self, serving: Serving, settings: Settings) -> None:
        """Add what is read from the serving model at the moment of a scrape."""
        self.watch_process(serving.load_report)
        self.registry.register(ModelCollector(serving, settings))

    def watch_process(self, load: Callable[[], Load]) -> None:
        """Add how busy this process is, and the GPUs."""
        self.registry.register(_LoadCollector(load))
        self.registry.register(_GpuCollector())

    def watch_traces(self, exported: Callable[[], int], dropped: Callable[[], int]) -> None:
        """Add how many spans were exported and how many were lost."""
        self.registry.register(_TraceCollector(exported, dropped))

    def watch_collection(self, collector: DataCollector) -> None:
        """Add what data collection wrote, dropped, and failed to write."""
        self.registry.register(_CollectionCollector(collector))

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted; called by the registry."""
        self._settle()
        requests = CounterMetricFamily(
            "scoring_requests", "Requests to score, by HTTP status and protocol.", labels=["code", "protocol"]
        )
        for (protocol, status), count in sorted(self._by_status.items()):
            requests.add_metric([str(status), protocol], count)
        yield requests
        errors = CounterMetricFamily("scoring_errors", "Refused or failed requests, by code.", labels=["code"])
        for code, count in sorted(self._by_code.items()):
            errors.add_metric([code], count)
        yield errors
        for histogram in (self._latency, self._wait, self._predict, self._rows):
            yield histogram.family()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _settle(self) -> None:
        """Turn the notes into numbers. Notes that come meanwhile wait for the next time."""
        with self._settling:
            requests = [self._requests.popleft() for _ in range(len(self._requests))]
            batches = [self._batches.popleft() for _ in range(len(self._batches))]
            self._by_status.update(map(itemgetter(0, 1), requests))
            self._by_code.update(code for _, _, code, _ in requests if code)
            self._latency.add(map(itemgetter(3), requests))
            self._rows.add(map(itemgetter(0), batches))
            self._predict.add(map(itemgetter(2), batches))
            self._wait.add(wait for _, waits, _ in batches for wait in waits)


class _LoadCollector(Collector):
    def __init__(self, load: Callable[[], Load]) -> None:
        self._load = load

    def collect(self) -> Iterator[Metric]:
        load = self._load()
        yield GaugeMetricFamily("scoring_slots", "Requests that may be in scoring at one time.", load.slots)
        yield GaugeMetricFamily("scoring_busy", "Requests that hold a slot now.", load.busy)
        yield GaugeMetricFamily("scoring_queued", "Requests that wait for a slot now.", load.queued)


class ModelCollector(Collector):
    """What is read from one model at the moment of a scrape."""

    def __init__(self, serving: Serving, settings: Settings) -> None:
        self._serving = serving
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        """Yield it; called by the registry."""
        ready = float(self._serving.state == "ready")
        yield GaugeMetricFamily("scoring_ready", "1 when the model is loaded and not draining.", ready)
        seconds = self._serving.load_seconds
        yield GaugeMetricFamily("scoring_model_load_seconds", "How long loading the model took.", seconds)
        notes = len(self._serving.warnings)
        yield GaugeMetricFamily(
            "scoring_model_warnings", "Warnings of the load, such as another library version.", notes
        )
        if isinstance(model := self._serving.model, Explained):
            # 0 is told apart from a conversion that hardly pays.
            factor = float(model.parameters.get("accelerate_times_faster", 0))
            yield GaugeMetricFamily(
                "scoring_model_times_faster",
                "How often the converted model answers a row meanwhile; 0: unused.",
                factor,
            )
        info = GaugeMetricFamily("scoring_model_info", "Always 1.", labels=["name", "version", "framework"])
        settings = self._settings
        info.add_metric([settings.model_name, settings.model_version, settings.framework or ""], 1)
        yield info


class _GpuCollector(Collector):
    """The GPUs' memory as PyTorch sees it, if this process loaded PyTorch and PyTorch uses a GPU."""

    _KINDS = (
        ("allocated", "Memory of the GPU that tensors take."),
        ("reserved", "Memory of the GPU that this process holds, for tensors and for its next ones."),
        ("total", "Memory that the GPU has."),
    )

    def collect(self) -> Iterator[Metric]:
        # Never imported for this, and never the first to touch a GPU: that alone takes some hundred megabytes of it.
        torch: Any = sys.modules.get("torch")
        cuda = getattr(torch, "cuda", None)
        if cuda is None or not cuda.is_initialized():
            return
        families = {
            kind: GaugeMetricFamily(f"scoring_gpu_memory_{kind}_bytes", documentation, labels=["device"])
            for kind, documentation in self._KINDS
        }
        for device in range(cuda.device_count()):
            families["allocated"].add_metric([str(device)], cuda.memory_allocated(device))
            families["reserved"].add_metric([str(device)], cuda.memory_reserved(device))
            families["total"].add_metric([str(device)], cuda.get_device_properties(device).total_memory)
        yield from families.values()


class _CollectionCollector(Collector):
    def __init__(self, collector: DataCollector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        of = self._collector
        yield CounterMetricFamily("scoring_data_collection_records", "Collected records that were written.", of.written)
        dropped = CounterMetricFamily(
            "scoring_data_collection_dropped", "Records that were lost, by reason.", labels=["reason"]
        )
        for reason, count in of.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        yield CounterMetricFamily("scoring_data_collection_failed_writes", "Writes that failed.", of.failures)


class _TraceCollector(Collector):
    def __init__(self, exported: Callable[[], int], dropped: Callable[[], int]) -> None:
        self._exported = exported
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("scoring_trace_spans_exported", "Spans that the collector took.", self._exported())
        yield CounterMetricFamily(
            "scoring_trace_spans_dropped", "Spans that were lost: the collector is slow or away.", self._dropped()
        )
