"""Spans, made of what the model's queue notes of each request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from scoring_runtime import logs
from scoring_runtime.batching import BatchQueue, QueueItem
from scoring_runtime.metrics import Metrics
from scoring_runtime.settings import Settings
from scoring_runtime.tracing.export import BoundedProcessor
from scoring_runtime.tracing.web import TracedApp

if TYPE_CHECKING:
    from flask import Flask

    from scoring_runtime.repository.serving import Repository
    from scoring_runtime.rpc.listener import Rpc
    from scoring_runtime.serving import Serving

_CLOSE_SECONDS = 3.0


class _Current(threading.local):
    """The request that this thread answers: its trace, and what it put into the model's queue."""

    trace_id: str = ""
    items: list[QueueItem] | None = None
    _behind: int = 0

    def set_clock(self) -> None:
        """Compare the clocks; once for a request, so that its parts lie in it."""
        monotonic = int(time.monotonic() * 1e9)
        self._behind = time.time_ns() - monotonic

    def since_epoch(self, moment: float) -> int:
        """Return a time of time.monotonic in nanoseconds since 1970."""
        return self._behind + int(moment * 1e9)


current = _Current()


@dataclass(frozen=True)
class _Batch:
    """One call of the model. Times are those of time.monotonic, in seconds."""

    started: float
    ended: float
    requests: int
    rows: int


class TracedQueue(BatchQueue):
    """A queue that remembers for each request which batch it was in."""

    def _enter(self, item: QueueItem) -> None:
        if current.items is not None:
            current.items.append(item)
        super()._enter(item)

    def _score(self, batch: list[QueueItem]) -> None:
        started = time.monotonic()
        super()._score(batch)
        # A batch that failed was scored again in parts; the last to write is the whole of it.
        whole = _Batch(started, time.monotonic(), len(batch), sum(item.rows for item in batch))
        for item in batch:
            item.batch = whole


class TracedAccessLog(logs.AccessLog):
    """An access log whose lines have the trace's id."""

    def request(self, fields: dict[str, object]) -> None:
        """See `AccessLog.request`."""
        if current.trace_id:
            fields["traceId"] = current.trace_id
        super().request(fields)


class Tracing:
    """Makes and exports spans. `exported` and `dropped` count them."""

    access_log_type = TracedAccessLog

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], resource: Resource, processor: BoundedProcessor
    ) -> None:
        self._settings = settings
        self._processor = processor
        # The sampler and the limits are read from the standard variables by the library.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("scoring_runtime")
        names = environment.get("OTEL_PROPAGATORS", "tracecontext")
        self._propagator = TraceContextTextMapPropagator() if "tracecontext" in names else None

    @property
    def exported(self) -> int:
        """Spans that the collector took."""
        return self._processor.exported

    @property
    def dropped(self) -> int:
        """Spans that were lost."""
        return self._processor.dropped

    def install(self, app: Flask, serving: Serving | Repository, metrics: Metrics) -> None:
        """Trace the requests that `app` answers with `serving`, which has not loaded its model yet."""
        serving.queue_type = TracedQueue
        metrics.watch_traces(lambda: self.exported, lambda: self.dropped)
        routes = frozenset(rule.rule for rule in app.url_map.iter_rules())
        app.wsgi_app = TracedApp(app.wsgi_app, self, routes, self._settings)  # type: ignore[method-assign]

    def traced_calls(self, handle: Callable[[Rpc], None], methods: Collection[str]) -> Callable[[Rpc], None]:
        """Trace the calls over gRPC that `handle` answers; it knows these methods."""
        # gRPC takes a fifth of a second and 20 MB, which pods without it need not pay.
        from scoring_runtime.tracing.calls import TracedCalls

        return TracedCalls(handle, methods, self, self._settings.grpc_port)

    def begin(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Any], began: float) -> trace.Span:
        """Start the server span of a request that this thread answers and that came at `began` (time.monotonic).

        `headers` may carry a traceparent.
        """
        current.set_clock()
        parent = self._propagator.extract(headers) if self._propagator is not None else context.Context()
        start = current.since_epoch(began)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=start)
        current.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        current.items = []
        return span

    def end(self, span: trace.Span, began: float) -> None:
        """End the span of a request that came at `began` (time.monotonic), with those of what happened to it."""
        items, current.items, current.trace_id = current.items, None, ""
        now = time.monotonic()
        if span.is_recording() and items:
            self._add_children(span, items, began, now)
        span.end(current.since_epoch(now))

    def close(self) -> None:
        """Export what is left, for at most three seconds."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _add_children(self, span: trace.Span, items: Sequence[QueueItem], began: float, now: float) -> None:
        parent = trace.set_span_in_context(span)

        def add(name: str, start: float, end: float, **attributes: int | str) -> None:
            named = {f"scoring.{key}": value for key, value in attributes.items()}
            child = self._tracer.start_span(name, parent, attributes=named, start_time=current.since_epoch(start))
            child.end(current.since_epoch(end))

        add("receive", began, items[0].arrived)
        answered = now
        for item in items:
            batch = getattr(item, "batch", None)
            add("queue", item.arrived, batch.started if batch is not None else now)
            if batch is not None:
                size = {"batch_rows": batch.rows, "batch_requests": batch.requests, "rows": item.rows}
                add("predict", batch.started, batch.ended, method=item.method, **size)
                answered = batch.ended
        add("respond", answered, now)
