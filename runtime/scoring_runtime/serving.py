"""The model's life in this process: loading, its sample scored, ready, draining."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from scoring_runtime.admission import Admission
from scoring_runtime.batching import BatchQueue, Limits, Load, Observer, QueueItem
from scoring_runtime.errors import InputInvalid, ModelLoadFailed, RequestError, SampleFailed, StartupError, not_loaded
from scoring_runtime.frameworks import Model, ModelWithExample, ScriptedModel
from scoring_runtime.protocols import azure
from scoring_runtime.protocols.call import Explained
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Tensors

State = Literal["loading", "ready", "draining", "failed"]
_logger = logging.getLogger(__name__)


class Serving:
    """Holds the model once it is loaded, and says whether this process is ready.

    `load_seconds` is how long the load took, `warnings` what it had to say, both for the metrics; `sample` is the body
    of the sample request beside the model, if there is one; `admission` counts the requests that are being answered.
    `before_ready` is what must be over, beside the load, before the model is ready; `queue_type` makes the queue.
    """

    def __init__(self, limits: Limits, observer: Observer | None = None) -> None:
        self._limits = limits
        self.admission = Admission(limits.max_requests)
        # Those whose body is being read: a client that sends slowly must not keep the place of one that does not.
        self.receiving = Admission(limits.max_receiving)
        self._observer = observer
        self._model: Model | None = None
        self._queue: BatchQueue | None = None
        self._state: State = "loading"
        self.before_ready: Callable[[], None] = lambda: None
        self.queue_type: type[BatchQueue] = BatchQueue
        self.load_seconds = 0.0
        self.warnings: tuple[str, ...] = ()
        self.sample: bytes | None = None

    @property
    def state(self) -> State:
        """Where in its life the model is."""
        return self._state

    @property
    def model(self) -> Model | None:
        """The loaded model, or None before."""
        return self._model

    @property
    def methods(self) -> tuple[str, ...]:
        """What the model can be asked for; empty before it is loaded."""
        return self._model.methods if self._model is not None else ()

    def load(self, read: Callable[[], Model], sample: Path | None = None) -> None:
        """Load with `read`, score the sample request if its file exists, and become ready.

        Raises a StartupError of the class that names the cause.
        """
        started = time.monotonic()
        try:
            model = read()
        except StartupError:
            self._state = "failed"
            raise
        except Exception as error:
            self._state = "failed"
            _logger.error("loading the model raised %s", type(error).__name__, exc_info=error)
            raise ModelLoadFailed(f"loading the model raised {type(error).__name__}: {error}") from error
        self.load_seconds = time.monotonic() - started
        self.warnings = model.warnings
        for warning in model.warnings:
            _logger.warning(warning)
        limits = self._limits
        if isinstance(model, ScriptedModel | ModelWithExample) and not model.batches:
            limits = replace(limits, max_rows=1)
        self._model, self._queue = model, self.queue_type(model, limits, self._observer)
        self._score_sample(model, self._queue, sample if sample is not None and sample.is_file() else None)
        self.before_ready()
        if self._state == "loading":
            self._state = "ready"
        _logger.info("the model is ready", extra={"loadSeconds": round(self.load_seconds, 3)})

    def loaded_model(self) -> Model:
        """Return the model, which may not be ready yet. Raises NotReady before it is loaded."""
        if self._model is None:
            raise not_loaded()
        return self._model

    def explained(self) -> list[dict[str, Any]]:
        """Return what the model says about how it is run, of each model; those of a repository have a name, too."""
        return [{"parameters": dict(self._model.parameters)}] if isinstance(self._model, Explained) else []

    def score(self, inputs: Tensors, method: str, seconds: float = math.inf) -> Tensors:
        """Check and score what a client sent, who waits at most `seconds`; an empty `method` is the model's default.

        Raises a RequestError.
        """
        model, queue = self._ready()
        prepared, method = _prepared(model, inputs, method)
        return queue.score(prepared, method, seconds)

    def submit(self, inputs: Tensors, method: str, done: Callable[[QueueItem], object]) -> None:
        """Check what a client sent and have it scored; `done` is called later, in a thread that must not be held up.

        Raises a RequestError, as `score` does, for what is known at once.
        """
        model, queue = self._ready()
        prepared, method = _prepared(model, inputs, method)
        queue.submit(QueueItem(prepared, method, done))

    def _ready(self) -> tuple[Model, BatchQueue]:
        model, queue = self._model, self._queue
        if model is None or queue is None or self._state in ("loading", "failed"):
            raise not_loaded()
        return model, queue

    def load_report(self) -> Load:
        """Return how busy the model is."""
        return self._queue.load() if self._queue is not None else Load(0, 0, self._limits.slots)

    def drain(self) -> None:
        """Say not ready from now on; requests are still answered."""
        self._state = "draining"

    def close(self, seconds: float | None = None) -> None:
        """Stop scoring; wait for the batch in progress, at most `seconds`."""
        if self._queue is not None:
            self._queue.close(seconds)

    def _score_sample(self, model: Model, queue: BatchQueue, sample: Path | None) -> None:
        try:
            content = self.sample = sample.read_bytes() if sample is not None else None
            if isinstance(model, ScriptedModel):
                inputs, method = model.sample(content), ""
            elif content is not None:
                call = azure.decode(content, "")
                inputs, method = call.inputs, call.method
            else:
                inputs, method = model.example() if isinstance(model, ModelWithExample) else None, ""
            if inputs is not None:
                queue.score(*_prepared(model, inputs, method))
        except (RequestError, OSError) as error:
            self._state = "failed"
            said = error.message if isinstance(error, RequestError) else str(error)
            kind = "sample, that of its schema" if isinstance(model, ScriptedModel) else "example, saved beside it"
            what = sample.name if sample is not None else kind
            raise SampleFailed(
                f"the model could not score its own {what}: {said}; correct the sample, or the model"
            ) from error


def _prepared(model: Model, inputs: Tensors, method: str) -> tuple[Tensors, str]:
    method = method or model.methods[0]
    if method not in model.methods:
        raise InputInvalid(f"this model has no method {method!r}; it has {', '.join(model.methods)}")
    return model.prepare(inputs, method), method


def limits_of(settings: Settings) -> Limits:
    """Return what the settings say about the queue."""
    return Limits(
        slots=settings.max_concurrent,
        max_rows=settings.batch_max_size,
        max_delay=settings.batch_max_delay_seconds,
        max_queue_wait=settings.max_queue_wait_seconds,
        timeout=settings.timeout_seconds,
    )
