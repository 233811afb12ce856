"""Logs as JSON, one line a record, on standard error.

No key, token or payload is ever written. A request is logged by its id, path, status, duration and size; an exception
by its type and the places in the code it passed through, without its message, which may quote the input. Every line,
also one of a library, is scrubbed of credentials before it is written.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from traceback import extract_tb
from typing import Any

import orjson

from scoring_runtime.scrub import Scrubber, Secrets, secrets_of

FLUSH_SECONDS = 0.1
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_scrubber = Scrubber()


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and the record's `extra` fields; no credentials."""

    def __init__(self, scrubber: Scrubber | None = None) -> None:
        super().__init__()
        self._scrubber = scrubber or _scrubber

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        fields: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = record.exc_info[0].__name__
            fields["frames"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(record.exc_info[2])
            ]
        return self._scrubber.scrub(orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def configure(level: str) -> None:
    """Send every record at `level` or above to standard error as JSON; replaces what was configured before."""
    global _scrubber  # noqa: PLW0603 (logging is one for the whole process, and so is what must not be in it)
    _scrubber = Scrubber(secrets_of())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def hide(secrets: Secrets) -> None:
    """Keep what `secrets` returns out of all lines from now on; it is asked each time."""
    _scrubber.add(secrets)


def scrubbed(text: str) -> str:
    """Return `text` as it may be shown: without credentials."""
    return _scrubber.scrub(text)


def scrubbed_requests(lines: bytes) -> bytes:
    """Return paths and ids that clients chose, in any number, as they may be shown: without credentials."""
    return _scrubber.scrub_requests(lines)


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables of OpenTelemetry ask for traces. Here, since asking must import nothing of it."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if "otlp" not in (environment.get("OTEL_TRACES_EXPORTER") or "otlp"):
        return False
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(environment.get(name) for name in names)


def catch_uncaught() -> None:
    """Log what nobody catches, in any thread, like every other exception: Python itself would print its message."""
    sys.excepthook = lambda kind, error, trace: _uncaught("the main thread", error)
    threading.excepthook = lambda found: _uncaught(found.thread.name if found.thread else "a thread", found.exc_value)
    sys.unraisablehook = lambda found: _uncaught("cleaning up", found.exc_value)


def _uncaught(where: str, error: BaseException | None) -> None:
    if not isinstance(error, SystemExit | KeyboardInterrupt):
        name = type(error).__name__
        logging.getLogger(__name__).error("%s was not caught in %s", name, where, exc_info=error)


class AccessLog:
    """Writes one line for each request, ten times a second all that came since.

    Writing each line at once would cost a system call a request, and with it a change of the thread that runs Python.
    `verbose` asks for the requests of probes and scrapers too. `close` writes the rest.
    """

    def __init__(self, verbose: bool = False, write: Callable[[bytes], object] | None = None) -> None:
        self.verbose = verbose
        self._write = write if write is not None else _write_standard_error
        self._requests: deque[tuple[float, dict[str, object]]] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def request(self, fields: dict[str, object]) -> None:
        """Note one request. Standard fields: requestId, method, path, status, ms, bytes."""
        self._requests.append((time.time(), fields))

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = []
        for _ in range(len(self._requests)):
            seconds, fields = self._requests.popleft()
            line = {"time": timestamp(seconds), "level": "info", "logger": "access", "message": "request", **fields}
            lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if lines:
            # A client may have put a key into a path or a request id.
            self._write(_scrubber.scrub_requests(b"".join(lines)))


def _write_standard_error(lines: bytes) -> None:
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


def timestamp(seconds: float) -> str:
    """Return a time, in seconds since 1970, as RFC 3339 writes it: UTC, with milliseconds."""
    whole = int(seconds)
    return f"{_to_the_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
