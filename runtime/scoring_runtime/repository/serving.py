"""Several models as the server sees them: one state, one load, one drain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from scoring_runtime.admission import Admission
from scoring_runtime.batching import BatchQueue, Limits, Load
from scoring_runtime.errors import StartupError
from scoring_runtime.frameworks import Model
from scoring_runtime.repository.metrics import RepositoryMetrics
from scoring_runtime.repository.slots import Group
from scoring_runtime.serving import Serving, State, limits_of
from scoring_runtime.settings import Settings

_logger = logging.getLogger(__name__)


class Repository:
    """Holds several models, in the order of their manifest; the first is the default.

    `models` are their settings. `admission`, `receiving`, `before_ready` and `queue_type` are as those of `Serving`,
    for all models together.
    """

    def __init__(self, limits: Limits, models: Sequence[Settings]) -> None:
        self.metrics = RepositoryMetrics()
        self.admission = Admission(limits.max_requests)
        self.receiving = Admission(limits.max_receiving)
        self.models = tuple(models)
        self.servings: Mapping[str, Serving] = {one.model_name: self._serving(one) for one in models}
        self.before_ready: Callable[[], None] = lambda: None
        self.queue_type: type[BatchQueue] = BatchQueue
        self._group = Group(limits.slots)
        self._state: State = "loading"

    @property
    def state(self) -> State:
        """Where in their life the models are: ready when all are."""
        return self._state

    @property
    def model(self) -> Model | None:
        """The default model, or None before all are loaded."""
        loaded = [serving.model for serving in self.servings.values()]
        return None if None in loaded else loaded[0]

    def load(self, read: Callable[[Settings], Model], sample_of: Callable[[Settings], Path]) -> None:
        """Load one model after the other with `read`, score the sample beside each, and become ready.

        Raises a StartupError of the class that names the cause, whose message begins with the model's name.
        """
        queue_type = self._group.queue_type(self.queue_type)
        for one in self.models:
            serving = self.servings[one.model_name]
            serving.queue_type = queue_type
            _logger.info("loading a model", extra={"model": one.model_name, "framework": one.framework})
            try:
                serving.load(partial(read, one), sample_of(one))
            except StartupError as error:
                self._state = "failed"
                raise type(error)(f"model {one.model_name}: {error.message}") from error
        self.before_ready()
        if self._state == "loading":
            self._state = "ready"

    def load_report(self) -> Load:
        """Return how busy all models together are; a request that waits for any of them counts."""
        return self._group.load()

    def explained(self) -> list[dict[str, Any]]:
        """Return what the models say about how they are run, of those that do."""
        return [{"name": name, **one} for name, serving in self.servings.items() for one in serving.explained()]

    def drain(self) -> None:
        """Say not ready from now on; requests are still answered."""
        self._state = "draining"
        for serving in self.servings.values():
            serving.drain()

    def close(self, seconds: float | None = None) -> None:
        """Stop scoring; wait for the batches in progress, at most `seconds` for all of them."""
        end = monotonic() + (seconds or 0)
        # All are told before any is waited for.
        for serving in self.servings.values():
            serving.close(0)
        for serving in self.servings.values():
            serving.close(None if seconds is None else max(end - monotonic(), 0))

    def _serving(self, settings: Settings) -> Serving:
        serving = Serving(limits_of(settings), self.metrics.of_model(settings.model_name))
        serving.admission, serving.receiving = self.admission, self.receiving
        return serving
