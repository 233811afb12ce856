"""Traces over OTLP (http/protobuf), when the standard OTEL_EXPORTER_OTLP_ENDPOINT or its like for traces is set.

Whether there are traces is decided at the start: without them nothing of OpenTelemetry is imported, and requests take
the same way as ever. With them, a request has a server span (the conventions of
https://opentelemetry.io/docs/specs/semconv/http/http-spans/, `traceparent` honoured) and below it the spans receive
(until it is in the queue), queue, predict (one batch, with its rows and requests) and respond.

Spans are exported in the background. What a slow or dead collector cannot take is dropped and counted; a request never
waits for it, and never fails by it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from scoring_runtime import logs
from scoring_runtime.batching import BatchQueue, QueueItem
from scoring_runtime.metrics import Metrics
from scoring_runtime.settings import Settings
from scoring_runtime.web.deferred import SEND
from scoring_runtime.web.recorder import QUIET_PATHS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

    from scoring_runtime.repository.serving import Repository
    from scoring_runtime.serving import Serving

_PROTOCOL = "http/protobuf"
_MAX_QUEUED = 2048
_MAX_BATCH = 512
# The library says at each try that the collector is away.
_COMPLAINT_SECONDS = 60.0
_CLOSE_SECONDS = 3.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_logger = logging.getLogger(__name__)


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


_current = _Current()


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
        if _current.items is not None:
            _current.items.append(item)
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
        if _current.trace_id:
            fields["traceId"] = _current.trace_id
        super().request(fields)


class Tracing:
    """Makes and exports spans. `exported` and `dropped` count them."""

    access_log_type = TracedAccessLog

    def __init__(self, settings: Settings, environment: Mapping[str, str], exporter: SpanExporter) -> None:
        self._settings = settings
        self._processor = _BoundedProcessor(exporter, _whole(environment, "OTEL_BSP_MAX_QUEUE_SIZE", _MAX_QUEUED))
        # The sampler and the limits are read from the standard variables by the library.
        self._provider = TracerProvider(resource=_resource(settings, environment), shutdown_on_exit=False)
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

    def begin(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Any], began: float) -> trace.Span:
        """Start the server span of a request that this thread answers and that came at `began` (time.monotonic).

        `headers` may carry a traceparent.
        """
        _current.set_clock()
        parent = self._propagator.extract(headers) if self._propagator is not None else context.Context()
        start = _current.since_epoch(began)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=start)
        _current.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        _current.items = []
        return span

    def end(self, span: trace.Span, began: float) -> None:
        """End the span of a request that came at `began` (time.monotonic), with those of what happened to it."""
        items, _current.items, _current.trace_id = _current.items, None, ""
        now = time.monotonic()
        if span.is_recording() and items:
            self._add_children(span, items, began, now)
        span.end(_current.since_epoch(now))

    def close(self) -> None:
        """Export what is left, for at most three seconds."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _add_children(self, span: trace.Span, items: Sequence[QueueItem], began: float, now: float) -> None:
        parent = trace.set_span_in_context(span)

        def add(name: str, start: float, end: float, **attributes: int | str) -> None:
            named = {f"scoring.{key}": value for key, value in attributes.items()}
            child = self._tracer.start_span(name, parent, attributes=named, start_time=_current.since_epoch(start))
            child.end(_current.since_epoch(end))

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


class TracedApp:
    """WSGI middleware: a span for each request but those of probes and scrapers."""

    def __init__(self, app: WSGIApplication, tracing: Tracing, routes: frozenset[str], settings: Settings) -> None:
        self._app = app
        self._tracing = tracing
        self._routes = routes
        self._prefix = settings.path_prefix
        self._port = settings.port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path: str = environ["PATH_INFO"]
        route = (path.removeprefix(self._prefix) or "/") if path.startswith(self._prefix) else path
        if route in QUIET_PATHS or route == "/" or route.endswith("/ready"):
            return self._app(environ, start_response)
        began = time.monotonic()
        name, attributes = self._described(environ, route)
        headers = {header: environ[key] for header, key in _PARENT_HEADERS if key in environ}
        span = self._tracing.begin(name, headers, attributes, began)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            code = int(status[:3])
            span.set_attribute("http.response.status_code", code)
            if code >= 500:
                span.set_attribute("error.type", str(code))
                span.set_status(StatusCode.ERROR)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        # A trace is that of the thread which answers, and ends when it does.
        environ.pop(SEND, None)
        try:
            return self._app(environ, start)
        finally:
            self._tracing.end(span, began)

    def _described(self, environ: WSGIEnvironment, route: str) -> tuple[str, dict[str, Any]]:
        """Return the span's name and attributes. The query is left out: it may hold a secret."""
        method = environ["REQUEST_METHOD"]
        known = route in self._routes
        attributes: dict[str, Any] = {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "url.path": environ["PATH_INFO"] if known else logs.scrubbed(environ["PATH_INFO"]),
            "url.scheme": environ.get("wsgi.url_scheme", "http"),
            "server.port": self._port,
        }
        optional = {
            "server.address": environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST"),
            "client.address": environ.get("REMOTE_ADDR"),
            "user_agent.original": environ.get("HTTP_USER_AGENT"),
            "network.protocol.version": environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
            "http.route": self._prefix + route if known else None,
        }
        attributes |= {name: value for name, value in optional.items() if value}
        verb = attributes["http.request.method"].replace("_OTHER", "HTTP")
        return (f"{verb} {attributes['http.route']}" if known else verb), attributes


_PARENT_HEADERS = (("traceparent", "HTTP_TRACEPARENT"), ("tracestate", "HTTP_TRACESTATE"))


class _BoundedProcessor(SpanProcessor):
    """Hands spans to the library's own background export, at most `size` at one time; the others are dropped."""

    def __init__(self, exporter: SpanExporter, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._waiting = 0
        self.exported = 0
        self.dropped = 0
        batch = min(size, _MAX_BATCH)
        self._inner = BatchSpanProcessor(_Counting(exporter, self), size, max_export_batch_size=batch)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            full = self._waiting >= self._size
            if full:
                self.dropped += 1
            else:
                self._waiting += 1
        if not full:
            self._inner.on_end(span)

    def taken(self, count: int) -> None:
        with self._lock:
            self._waiting -= count

    def finished(self, count: int, well: bool) -> None:
        with self._lock:
            if well:
                self.exported += count
            else:
                self.dropped += count

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Counting(SpanExporter):
    def __init__(self, exporter: SpanExporter, processor: _BoundedProcessor) -> None:
        self._exporter = exporter
        self._processor = processor

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._processor.taken(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._processor.finished(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _NowAndThen(logging.Filter):
    """Lets one record a minute through."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _COMPLAINT_SECONDS
        return True


def _add_trace_id(record: logging.LogRecord) -> bool:
    if _current.trace_id:
        record.traceId = _current.trace_id
    return True


def start_tracing(settings: Settings, environment: Mapping[str, str]) -> Tracing | None:
    """Return what makes the traces that the environment asks for; None, with a warning, when that is impossible."""
    wanted = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if wanted and wanted != _PROTOCOL:
        _logger.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL is %s, and only %s is spoken here", wanted, _PROTOCOL)
        return None
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_NowAndThen())
    try:
        tracing = Tracing(settings, environment, OTLPSpanExporter())
    except Exception as error:
        _logger.warning("no traces: the OTEL_ variables cannot be used: %s", type(error).__name__, exc_info=error)
        return None
    for handler in logging.getLogger().handlers:
        handler.addFilter(_add_trace_id)
    return tracing


def _resource(settings: Settings, environment: Mapping[str, str]) -> Resource:
    """The standard variables win; without them the service has the model's name."""
    given = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes = {}
    if not environment.get("OTEL_SERVICE_NAME") and f"{SERVICE_NAME}=" not in given:
        attributes[SERVICE_NAME] = settings.model_name
    if f"{SERVICE_VERSION}=" not in given:
        attributes[SERVICE_VERSION] = settings.model_version
    return Resource.create(attributes)


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, "")
    return int(value) if value.isdigit() and int(value) > 0 else default
