"""Whether there are traces, by the standard variables of OpenTelemetry."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

from scoring_runtime.settings import Settings
from scoring_runtime.tracing.export import BoundedProcessor
from scoring_runtime.tracing.spans import Tracing, current

_PROTOCOL = "http/protobuf"
_MAX_QUEUED = 2048
# The library says at each try that the collector is away.
_COMPLAINT_SECONDS = 60.0
_logger = logging.getLogger(__name__)


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
    if current.trace_id:
        record.traceId = current.trace_id
    return True


def start_tracing(settings: Settings, environment: Mapping[str, str]) -> Tracing | None:
    """Return what makes the traces that the environment asks for; None, with a warning, when that is impossible."""
    wanted = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if wanted and wanted != _PROTOCOL:
        _logger.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL is %s, and only %s is spoken here", wanted, _PROTOCOL)
        return None
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_NowAndThen())
    try:
        tracing = Tracing(
            settings,
            environment,
            _resource(settings, environment),
            BoundedProcessor(OTLPSpanExporter(), _whole(environment, "OTEL_BSP_MAX_QUEUE_SIZE", _MAX_QUEUED)),
        )
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
