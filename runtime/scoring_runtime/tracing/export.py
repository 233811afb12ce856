"""The way of spans to the collector: bounded, in the background, and counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

_MAX_BATCH = 512


class BoundedProcessor(SpanProcessor):
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
        """Queue a span, or drop it; called by the library."""
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
        """Note that so many wait no more."""
        with self._lock:
            self._waiting -= count

    def finished(self, count: int, well: bool) -> None:
        """Note how the export of so many ended."""
        with self._lock:
            if well:
                self.exported += count
            else:
                self.dropped += count

    def shutdown(self) -> None:
        """Export what waits, and end the background."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what waits; return whether that was done in time."""
        return self._inner.force_flush(timeout_millis)


class _Counting(SpanExporter):
    def __init__(self, exporter: SpanExporter, processor: BoundedProcessor) -> None:
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
