"""What a cluster asks a server about itself: health, metrics and load.

Health is always open. Metrics and load are on the port for requests, or, if SCORING_METRICS_PORT is set, on that one
alone: an Ingress publishes every path of the port for requests, and nobody outside needs these two. How the model is
run (`/model`) is on that port or nowhere; the metadata of V2 say it to those who may score.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import orjson

from scoring_runtime.auth import Authenticator
from scoring_runtime.batching import Load
from scoring_runtime.errors import MethodNotAllowed, NotFound, RequestError, unexpected
from scoring_runtime.metrics import CONTENT_TYPE, Metrics
from scoring_runtime.protocols import error_document
from scoring_runtime.replies import STATUS_LINES, Reply, error_reply, json_reply

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from scoring_runtime.repository.serving import Repository
    from scoring_runtime.serving import Serving

# Probes, a scraper and an autoscaler; none of them takes long.
THREADS = 4
_logger = logging.getLogger(__name__)

Report = Callable[[str | None], Reply]


class Operations:
    """A WSGI application for the port of its own; `health` and `reports` are for the other one.

    `gate` is who is asked about metrics and load, None if nobody is. `exposition` and `load` may be replaced by what
    answers for several processes.
    """

    def __init__(self, serving: Serving | Repository, metrics: Metrics, gate: Authenticator | None) -> None:
        self._serving = serving
        self._gate = gate
        self.exposition: Callable[[], bytes] = metrics.exposition
        self.load: Callable[[], Load] = serving.load_report
        self.reports: dict[str, Report] = {"/metrics": self._metrics, "/load": self._load}
        self.health: dict[str, Report] = {"/healthz": self._healthz, "/readyz": self._readyz}
        self._answers = self.health | self.reports | {"/model": self._model}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        reply = self._answer(environ)
        start_response(STATUS_LINES[reply.status], reply.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [reply.body]

    def _answer(self, environ: WSGIEnvironment) -> Reply:
        path = environ["PATH_INFO"]
        try:
            answer = self._answers.get(path)
            if answer is None:
                raise NotFound(f"this port has {', '.join(self._answers)}; requests to score go to SCORING_PORT")
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("only GET is possible here", [("Allow", "GET, HEAD")])
            return answer(environ.get("HTTP_AUTHORIZATION"))
        except RequestError as error:
            return error_reply(error, error_document(path, error, ""))
        except Exception as error:
            own = unexpected(error, path, _logger)
            return error_reply(own, error_document(path, own, ""))

    def _healthz(self, authorization: str | None) -> Reply:
        return json_reply(b'{"status":"alive"}')

    def _readyz(self, authorization: str | None) -> Reply:
        state = self._serving.state
        return json_reply(orjson.dumps({"state": state}), 200 if state == "ready" else 503)

    def _metrics(self, authorization: str | None) -> Reply:
        self._check(authorization)
        body = self.exposition()
        return Reply(200, [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))], body)

    def _load(self, authorization: str | None) -> Reply:
        self._check(authorization)
        load = self.load()
        return json_reply(orjson.dumps({"busy": load.busy, "queued": load.queued, "slots": load.slots}))

    def _model(self, authorization: str | None) -> Reply:
        self._check(authorization)
        return json_reply(orjson.dumps({"models": self._serving.explained()}))

    def _check(self, authorization: str | None) -> None:
        if self._gate is not None:
            self._gate.check(authorization)
