"""What is written down of requests to one of several models: the same as for one, with the model's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from scoring_runtime.logs import AccessLog
from scoring_runtime.repository.metrics import LABEL, RepositoryMetrics
from scoring_runtime.web.recorder import Recorder, RequestLog

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class RepositoryRecorder(Recorder):
    """Counts requests where those of their model are counted, and logs them with its name.

    `paths` are the scoring paths of each model. What is on none of them is only logged.
    """

    def __init__(
        self, metrics: RepositoryMetrics, access_log: AccessLog | None, paths: Mapping[str, Collection[str]]
    ) -> None:
        super().__init__(metrics, access_log, ())
        self._several = metrics
        self._log = access_log
        self._by_path = {path: self.of_model(name, owned) for name, owned in paths.items() for path in owned}

    def of_model(self, name: str, paths: Collection[str]) -> Recorder:
        """Return what records the requests to one model on some paths."""
        log = None if self._log is None else _NamedLog(self._log, name)
        return Recorder(self._several.of_model(name), log, paths)

    def done(self, environ: WSGIEnvironment, status: int, size: int, seconds: float, code: str = "") -> None:
        """See `Recorder.done`."""
        recorder = self._by_path.get(environ["PATH_INFO"])
        if recorder is None:
            super().done(environ, status, size, seconds, code)
        else:
            recorder.done(environ, status, size, seconds, code)


class _NamedLog:
    def __init__(self, log: RequestLog, name: str) -> None:
        self.verbose = log.verbose
        self._log = log
        self._name = name

    def request(self, fields: dict[str, object]) -> None:
        self._log.request({**fields, LABEL: self._name})
