"""The life of a serving process: listen, load, serve, drain, end.

The server listens before the model is loaded, so that probes get an answer; the load runs in the background, and one
that fails ends the process with the reason in the termination message. On SIGTERM readiness goes away at once, requests
are accepted for as long as load balancers need to notice, what is in progress is finished, and the status is 0.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from scoring_runtime import logs
from scoring_runtime.app import GATE, OPERATIONS, RECORDER, create_app
from scoring_runtime.auth import Authenticator
from scoring_runtime.batching import Limits
from scoring_runtime.errors import SettingsInvalid, StartupError
from scoring_runtime.frameworks import FRAMEWORKS, LOADED_BEFORE_FORK, Model
from scoring_runtime.loading import read_model, sample_beside
from scoring_runtime.metrics import Metrics
from scoring_runtime.process import termination
from scoring_runtime.process.fleet import Fleet, load_answer
from scoring_runtime.process.supervisor import Supervisor
from scoring_runtime.repository.manifest import MANIFEST, read_manifest
from scoring_runtime.repository.serving import Repository
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.web.listener import Listener, bind
from scoring_runtime.web.operations import THREADS as OPERATIONS_THREADS
from scoring_runtime.web.operations import Operations
from scoring_runtime.web.stalled import StalledClients

if TYPE_CHECKING:
    from scoring_runtime.collection.collector import Collector
    from scoring_runtime.rpc.listener import RpcListener
    from scoring_runtime.tracing.spans import Tracing

# Threads beyond those that requests to score can hold: for probes, scrapes and quick refusals.
_SPARE_THREADS = 16
# The last bytes of an answer leave after the application has returned them.
_FLUSH_SECONDS = 0.2
_POLL_SECONDS = 0.1
# A model that hangs is not waited for.
_CLOSE_SECONDS = 1.0
# Behind everything else, and bounded: what cannot be written by then is dropped. The operator adds as much to a pod's
# time to end (resources/pod.py).
COLLECTION_CLOSE_SECONDS = 4.0
# The first GPU's device file, in any container that has one.
_GPU = Path("/dev/nvidia0")
_logger = logging.getLogger(__name__)


class Bound(NamedTuple):
    """The sockets of a server: for requests, and, if it has a port of its own, for metrics."""

    requests: socket.socket
    metrics: socket.socket | None

    def close(self) -> None:
        """Give the addresses back."""
        for bound in self:
            if bound is not None:
                bound.close()


class Content(NamedTuple):
    """What is served: the settings of several models, or one, which may be loaded already."""

    models: tuple[Settings, ...] = ()
    model: Model | None = None


class _Process:
    """One serving process.

    The main thread looks ten times a second at plain attributes, which a signal or a load that failed has set. It never
    blocks on a lock: Python runs signal handlers in the main thread only, between two of its instructions, so a handler
    that sets an Event on which this thread waits can be late for ever, or wait for itself.
    """

    def __init__(self, settings: Settings, bound: Bound, content: Content, fleet: Fleet | None = None) -> None:
        self._settings = settings
        self._bound = bound
        self._content = content
        self._fleet = fleet
        self._signals = 0
        self._drain = True
        self._failure: StartupError | None = None
        self._limits = limits_of(settings)
        self._serving, metrics = _serving_of(self._limits, content.models)
        self._metrics = metrics
        self._rpc: RpcListener | None = None
        self._operations: Listener | None = None
        self._access_log: logs.AccessLog | None = None
        self._tracing = self._start_tracing()
        self._collector = self._start_collecting()
        if settings.log_level in ("debug", "info"):
            kind = logs.AccessLog if self._tracing is None else self._tracing.access_log_type
            self._access_log = kind(verbose=settings.log_level == "debug")
        self._app = create_app(settings, self._serving, metrics, self._access_log, self._collector)
        if self._tracing is not None:
            self._tracing.install(self._app, self._serving, metrics)
        if fleet is not None:
            self._report_as_one(fleet)
        self._gate: Authenticator = self._app.extensions[GATE]
        self._serving.before_ready = self._before_ready
        logs.hide(self._gate.secrets)

    def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        settings = self._settings
        self._gate.start()
        if self._fleet is not None:
            # The others may be ready, and a client cannot choose whom it reaches.
            self._load()
            if self._failure is not None:
                termination.report(self._failure, settings.termination_log)
                return self._failure.exit_code
        if settings.grpc_port:
            # First: whoever is told over HTTP that this process is ready may call the other port at once.
            self._listen_for_grpc()
        threads = self._limits.max_requests + self._limits.max_receiving + _SPARE_THREADS
        listener = Listener(self._app, self._bound.requests, threads)
        StalledClients(settings.port, self._patience, lambda: self._serving.receiving.inside).start()
        _logger.info("listening on %s:%d", settings.host, settings.port)
        if self._bound.metrics is not None:
            self._operations = Listener(self._app.extensions[OPERATIONS], self._bound.metrics, OPERATIONS_THREADS)
            _logger.info("metrics and load are on port %d", settings.metrics_port)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        if self._fleet is None:
            threading.Thread(target=self._load, name="load", daemon=True).start()
        self._wait(lambda: self._signals > 0 or self._failure is not None)
        if self._failure is None:
            self._finish(listener)
        else:
            listener.stop()
            termination.report(self._failure, settings.termination_log)
        if self._collector is not None:
            self._collector.close(COLLECTION_CLOSE_SECONDS)
        if self._access_log is not None:
            self._access_log.close()
        if self._tracing is not None:
            self._tracing.close()
        return 0 if self._failure is None else self._failure.exit_code

    def _report_as_one(self, fleet: Fleet) -> None:
        fleet.listen({"load": lambda: load_answer(self._serving.load_report()), "metrics": self._metrics.exposition})
        operations: Operations = self._app.extensions[OPERATIONS]
        operations.load, operations.exposition = fleet.load, fleet.metrics

    def _start_tracing(self) -> Tracing | None:
        if not logs.wants_traces(os.environ):
            return None
        # OpenTelemetry takes a fifth of a second and some 20 MB, which other pods need not pay.
        from scoring_runtime.tracing.start import start_tracing

        return start_tracing(self._settings, os.environ)

    def _start_collecting(self) -> Collector | None:
        settings = self._settings
        if not settings.data_collection_uri:
            return None
        # fsspec and what speaks S3 take half a second and 30 MB, which other pods need not pay.
        from scoring_runtime.collection.start import start_collection

        collector = start_collection(settings)
        self._metrics.watch_collection(collector)
        if settings.framework == "script":
            from scoring_runtime.azureml_shims import monitoring

            monitoring.send_to(collector)
        return collector

    def _listen_for_grpc(self) -> None:
        # gRPC and protobuf take a fifth of a second and 20 MB, which other pods need not pay.
        from scoring_runtime.rpc.server import listen

        recorder = self._app.extensions[RECORDER]
        self._rpc = listen(self._settings, self._serving, self._gate, recorder, self._tracing)
        _logger.info("listening for gRPC on port %d", self._settings.grpc_port)

    def _idle(self) -> bool:
        return self._serving.receiving.inside == 0 and self._serving.admission.inside == 0

    def _patience(self) -> float:
        """Return how long a request may be without an answer, in seconds.

        From the outside it cannot be seen whether a client or the model keeps a request waiting, only that no model is.
        """
        waiting_for_model = self._settings.timeout_seconds if self._serving.admission.inside else 0.0
        return self._settings.body_timeout_seconds + waiting_for_model

    def _load(self) -> None:
        try:
            if isinstance(self._serving, Repository):
                self._serving.load(read_model, sample_beside)
            else:
                model, settings = self._content.model, self._settings
                self._serving.load(lambda: model or read_model(settings), sample_beside(settings))
        except StartupError as error:
            self._failure = error

    def _before_ready(self) -> None:
        self._gate.wait()
        # Requests leave no cycles behind. What is there now stays, and looking through it, libraries and all, would
        # halt everything for a tenth of a second now and then.
        gc.collect()
        gc.freeze()
        gc.enable()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Ctrl-C is a person who does not want to wait for load balancers. A second signal ends the wait.
        self._drain = number == signal.SIGTERM and self._signals == 0
        self._serving.drain()
        self._signals += 1

    def _finish(self, listener: Listener) -> None:
        _logger.info("draining", extra={"seconds": self._settings.drain_seconds if self._drain else 0})
        self._wait(lambda: not self._drain, self._settings.drain_seconds)
        listener.stop()
        if self._rpc is not None:
            self._rpc.stop()
        end = time.monotonic() + self._settings.timeout_seconds
        self._wait(self._idle, self._settings.timeout_seconds)
        time.sleep(_FLUSH_SECONDS)
        # Between its two phases a request is in neither.
        self._wait(self._idle, end - time.monotonic())
        if self._rpc is not None:
            self._rpc.close()
        self._serving.close(_CLOSE_SECONDS)
        # Last: whoever scrapes sees the drain to its end.
        if self._operations is not None:
            self._operations.stop()
        _logger.info("stopped")

    @staticmethod
    def _wait(over: Callable[[], bool], seconds: float = math.inf) -> None:
        end = time.monotonic() + seconds
        while not over() and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)


def serve(settings: Settings) -> int:
    """Serve the model that the settings name; returns the process' exit status."""
    logs.configure(settings.log_level)
    logs.catch_uncaught()
    try:
        if settings.framework is None:
            raise SettingsInvalid(f"SCORING_FRAMEWORK is not set; it is one of {', '.join(FRAMEWORKS)}")
        if settings.data_collection_uri:
            # Said before there are several processes to say it.
            from scoring_runtime.collection.start import folder_of, form_of

            form_of(settings)
            folder_of(settings)
        if settings.framework != "script":
            # Importing and loading leave little to collect, and looking for it takes a twentieth of their time. What a
            # script does in init() is its own affair.
            gc.disable()
        models = _models_of(settings)
        bound = _bind(settings)
        if settings.processes > 1:
            return _serve_with_many(settings, bound, models)
        return _Process(settings, bound, Content(models)).run()
    except StartupError as error:
        termination.report(error, settings.termination_log)
        return error.exit_code


def _bind(settings: Settings) -> Bound:
    requests = bind(settings.host, settings.port)
    port = settings.metrics_port
    return Bound(requests, bind(settings.host, port, "SCORING_METRICS_PORT") if port else None)


def _models_of(settings: Settings) -> tuple[Settings, ...]:
    """Return the settings of each of several models, none where there is one."""
    models = read_manifest(settings)
    if models and settings.data_collection_uri:
        raise SettingsInvalid(
            f"SCORING_DATA_COLLECTION_URI does not go with several models ({MANIFEST}): records are of one model; "
            "leave it out, or serve the model whose requests are collected by itself"
        )
    return models


def _serving_of(limits: Limits, models: tuple[Settings, ...]) -> tuple[Serving | Repository, Metrics]:
    if models:
        repository = Repository(limits, models)
        return repository, repository.metrics
    metrics = Metrics()
    return Serving(limits, metrics), metrics


def _serve_with_many(settings: Settings, bound: Bound, models: tuple[Settings, ...]) -> int:
    """Serve with several processes; each has its part of the slots and of the cores."""
    if settings.device == "cuda" or (settings.device == "auto" and _GPU.exists()):
        raise SettingsInvalid(
            f"SCORING_PROCESSES={settings.processes} and a GPU do not go together: each process would need the model "
            "in the GPU's memory; use 1, or SCORING_DEVICE=cpu"
        )
    # ONNX Runtime has threads of its own from the start.
    before = settings.framework in LOADED_BEFORE_FORK and settings.accelerate == "none" and not models
    share = {"max_concurrent": math.ceil(settings.max_concurrent / settings.processes)}
    each = settings.model_copy(update=share)
    content = Content(tuple(one.model_copy(update=share) for one in models), read_model(settings) if before else None)
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:

        def serve_one(number: int) -> int:
            return _Process(each, bound, content, Fleet(Path(folder), number, settings.processes)).run()

        return Supervisor(settings.processes, serve_one, leave).run(on_stop=bound.close)


def leave(status: int) -> None:
    """End the process now. granian's threads may still hold Python objects, which an orderly exit would tear away."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
