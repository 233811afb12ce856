"""Log lines: one JSON object (or one text line) each, with the service they are about.

Nothing here ever formats an object of the cluster: callers log names of objects and of fields, never values, so that no
key can reach a log.
"""

import json
import logging
import sys
import time
from typing import Any

from scoring_operator.config import LogFormat, Settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FOREIGN = frozenset({"settings", "k8s_skip", "k8s_ref"})
"""What kopf hangs on its records; only the reference is of use."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """The same for human eyes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, followed by its traceback if it has one."""
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        line = f"{_timestamp(record)} {record.levelname:<7} {record.getMessage()}{extras}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(settings: Settings) -> None:
    """Send all logging to standard error in the format and from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format is LogFormat.JSON else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    if settings.log_level != "DEBUG":
        handler.addFilter(_without_kopfs_tracebacks)
    root.setLevel(settings.log_level)
    for noisy in ("asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # kopf tells of each handler it calls; what matters is told by the operator itself.
    logging.getLogger("kopf").setLevel(logging.DEBUG if settings.log_level == "DEBUG" else logging.WARNING)


def _without_kopfs_tracebacks(record: logging.LogRecord) -> bool:
    """kopf's watches fail for reasons outside of the process, which their one line tells; the stack is kopf's own."""
    if record.name.partition(".")[0] == "kopf":
        record.exc_info = None
    return True


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    extras = {key: value for key, value in vars(record).items() if key not in _STANDARD and key not in _FOREIGN}
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, dict):
        extras["object"] = f"{reference.get('kind')} {reference.get('namespace')}/{reference.get('name')}"
    return extras
