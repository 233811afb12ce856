"""What is written down of each request: a line in the access log, and numbers in the metrics."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from scoring_runtime.metrics import Metrics
from scoring_runtime.protocols import protocol_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from scoring_runtime.collection.collector import Collector

REQUEST_ID = "scoring.request_id"
# What asks every few seconds, and would bury the rest.
QUIET_PATHS = frozenset(
    {"/healthz", "/readyz", "/metrics", "/load", "/ping", "/health", "/v2/health/live", "/v2/health/ready"}
)


class RequestLog(Protocol):
    """Where requests are logged; see `logs.AccessLog`."""

    verbose: bool

    def request(self, fields: dict[str, object]) -> None:
        """Note one request."""


class Recorder:
    """Counts requests on the scoring paths, and logs all but those of probes and scrapers.

    `collector` keeps some of them whole, if there is one.
    """

    def __init__(
        self,
        metrics: Metrics,
        access_log: RequestLog | None,
        scoring_paths: Collection[str],
        collector: Collector | None = None,
    ) -> None:
        self.collector = collector
        self._metrics = metrics
        self._access_log = access_log
        self._protocols = {path: protocol_of(path) for path in scoring_paths}

    def counting(self, paths: Collection[str]) -> Recorder:
        """Return one that counts requests on other paths, and is the same besides."""
        return Recorder(self._metrics, self._access_log, paths, self.collector)

    def done(self, environ: WSGIEnvironment, status: int, size: int, seconds: float, code: str = "") -> None:
        """Record one answered request: its HTTP status, the answer's size in bytes, its duration, its error's code."""
        path = environ["PATH_INFO"]
        protocol = self._protocols.get(path)
        if protocol is not None:
            self._metrics.request_done(status, code, seconds, protocol)
        log = self._access_log
        if log is None or (path in QUIET_PATHS and not log.verbose):
            return
        fields: dict[str, object] = {
            "requestId": environ[REQUEST_ID],
            "method": environ["REQUEST_METHOD"],
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 3),
            "bytes": size,
        }
        if code:
            fields["error"] = code
        log.request(fields)
