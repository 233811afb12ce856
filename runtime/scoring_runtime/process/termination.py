"""The termination message: how a dying container tells the operator why.

Kubernetes reads the file at `terminationMessagePath` when a container ends and keeps at most 4096 bytes of it
(https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/).
"""

from __future__ import annotations

import logging
from pathlib import Path

import orjson

from scoring_runtime import logs
from scoring_runtime.errors import StartupError

MAX_BYTES = 4096
_logger = logging.getLogger(__name__)


def report(error: StartupError, path: Path | None) -> None:
    """Write `error` as one line of JSON to `path` (nowhere when None) and to the log. Never raises."""
    _logger.error(error.message, extra={"reason": error.reason})
    if path is None:
        return
    try:
        path.write_bytes(termination_message(error))
    except OSError as problem:
        _logger.error("cannot write the termination message to %s: %s", path, problem.strerror)


def termination_message(error: StartupError) -> bytes:
    """Return the line for `error`: {"reason": …, "message": …}, at most 4096 bytes, the message cut where needed.

    It becomes a part of the ScoringService that many may read, so it is scrubbed of credentials as the log is.
    """
    message = " ".join(logs.scrubbed(error.message).split())
    while True:
        line = orjson.dumps({"reason": error.reason, "message": message})
        excess = len(line) - MAX_BYTES
        if excess <= 0:
            return line
        message = message[: len(message) - max(excess // 4, 1) - 1] + "…"
