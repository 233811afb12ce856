"""`azureml.ai.monitoring`: a script's own collection of what it scores.

There is nowhere to send the data to, so it is dropped, and the log says so once. A script must not fail for it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

_logger = logging.getLogger(__name__)
_told: set[str] = set()


class CorrelationContext:
    """Ties the inputs and the outputs of one request together."""

    def get_id(self) -> str:
        """Return the id."""
        return ""


class BasicCorrelationContext(CorrelationContext):
    """A context with an id, a time in whole seconds since 1970, and headers."""

    def __init__(
        self, id: str | None = None, timestamp: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.id = id or str(uuid.uuid4())
        self.timestamp = timestamp or int(time.time())
        self.headers = dict(headers or {})

    def get_id(self) -> str:
        """Return the id."""
        return self.id

    def get_timestamp(self) -> int:
        """Return the time in seconds since 1970."""
        return self.timestamp

    def get_headers(self) -> dict[str, str]:
        """Return the headers."""
        return self.headers


class Collector:
    """Takes data frames under a name. `on_error` is called with what is wrong; without it, that is raised."""

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        self._on_error = on_error or _raise
        self.name = name
        if not name:
            self._on_error(ValueError("a Collector needs a name"))

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        """Take one data frame; return its context, a new one where none is given."""
        if type(data).__name__ != "DataFrame":
            self._on_error(TypeError(f"a Collector takes a pandas.DataFrame, not a {type(data).__name__}"))
        _tell_once(self.name)
        return correlation_context or BasicCorrelationContext()


class ModelDataCollector:
    """`azureml.monitoring.ModelDataCollector`, the older form of the same."""

    def __init__(self, model_name: str, *args: Any, **kwargs: Any) -> None:
        self.name = model_name

    def collect(self, input_data: Any, user_correlation_id: str = "") -> str:
        """Take some data; return the correlation id."""
        _tell_once(self.name)
        return user_correlation_id or str(uuid.uuid4())


def _tell_once(name: str) -> None:
    if name not in _told:
        _told.add(name)
        _logger.warning("the script collects data as %s; there is nowhere to send it, so it is dropped", name)


def _raise(error: Exception) -> None:
    raise error
