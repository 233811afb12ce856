"""`azureml.ai.monitoring`: a script's own collection of what it scores.

Where data is collected (SCORING_DATA_COLLECTION_URI), a script's tables go to the same folder, below collectors/NAME.
Otherwise there is nowhere to send them to: they are dropped, and the log says so once. A script must not fail for it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

_logger = logging.getLogger(__name__)
_told: set[str] = set()


class Destination(Protocol):
    """What takes a script's tables."""

    def chooses(self, correlation_id: str) -> bool:
        """Whether the tables with this id belong to the sample."""

    def frame(self, name: str, correlation_id: str, rows: bytes) -> None:
        """Take a table, as a JSON list of objects."""


_destination: Destination | None = None


def send_to(destination: Destination | None) -> None:
    """Give what scripts collect to `destination` from now on."""
    global _destination  # noqa: PLW0603 (a script makes its Collectors without knowing of any)
    _destination = destination


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
        context = correlation_context or BasicCorrelationContext()
        if type(data).__name__ == "DataFrame":
            _deliver(self.name, data, context.get_id())
        else:
            self._on_error(TypeError(f"a Collector takes a pandas.DataFrame, not a {type(data).__name__}"))
        return context


class ModelDataCollector:
    """`azureml.monitoring.ModelDataCollector`, the older form of the same."""

    def __init__(self, model_name: str, *args: Any, **kwargs: Any) -> None:
        self.name = model_name

    def collect(self, input_data: Any, user_correlation_id: str = "") -> str:
        """Take some data, of which data frames are collected; return the correlation id."""
        correlation_id = user_correlation_id or str(uuid.uuid4())
        _deliver(self.name, input_data, correlation_id)
        return correlation_id


def _deliver(name: str, data: Any, correlation_id: str) -> None:
    """Send a data frame on, written down here and now: the script may change it as soon as it has it back."""
    destination = _destination
    if destination is None or not hasattr(data, "to_json"):
        if name not in _told:
            _told.add(name)
            why = "it is no data frame" if destination is not None else "there is nowhere to send it"
            _logger.warning("the script collects data as %s; %s, so it is dropped", name, why)
    elif destination.chooses(correlation_id):
        try:
            rows = data.to_json(orient="records", date_format="iso").encode()
        except Exception as error:
            # Without its message, which may quote the data.
            _logger.warning("a table collected as %s cannot be written as JSON: %s", name, type(error).__name__)
            return
        destination.frame(name, correlation_id, rows)


def _raise(error: Exception) -> None:
    raise error
