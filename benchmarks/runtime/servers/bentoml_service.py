"""BentoML: one worker, adaptive batching, no log line for each request."""

from typing import Any

import bentoml
import model


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 1000},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Bench:
    """Reads {"rows": […]} and answers the list of predictions."""

    def __init__(self) -> None:
        """Read the model."""
        _, self._predict = model.load()

    @bentoml.api(batchable=True, max_batch_size=model.MAX_BATCH, max_latency_ms=1000)
    def predict(self, rows: list[Any]) -> list[Any]:
        """Score a batch."""
        return self._predict(rows)
