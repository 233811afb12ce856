"""The web application.

`create_app` has no side effects: it opens no port, starts no thread, reads no file but the keys, and touches no global.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from scoring_runtime import errors
from scoring_runtime.auth import authenticator
from scoring_runtime.front import ERROR_CODE, Front, answer, strip_prefix
from scoring_runtime.logs import AccessLog
from scoring_runtime.metrics import CONTENT_TYPE, Metrics
from scoring_runtime.protocols import PROTOCOLS
from scoring_runtime.recorder import REQUEST_ID, Recorder
from scoring_runtime.replies import Reply, error_reply, json_reply
from scoring_runtime.scoring import ScoringEndpoint
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings

# Where Flask keeps the outermost layer, by its own convention for what extends an app.
FRONT = "scoring.front"
_logger = logging.getLogger(__name__)


def create_app(
    settings: Settings, model: Serving, metrics: Metrics | None = None, access_log: AccessLog | None = None
) -> Flask:
    """Return the WSGI application that serves `model`, which may still be loading.

    Raises SettingsInvalid when the keys are asked for and missing.
    """
    metrics = metrics or Metrics()
    metrics.watch(model, settings)
    app = Flask("scoring_runtime", static_folder=None)
    # Otherwise //score is answered by a redirect in HTML.
    app.url_map.merge_slashes = False
    endpoints = _scoring_endpoints(settings, model)
    for path, endpoint in endpoints.items():
        app.add_url_rule(path, path, _view(endpoint), methods=["POST"])
    _add_health(app, model)
    _add_metrics(app, model, metrics)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    front = Front(app.wsgi_app, endpoints, model, Recorder(metrics, access_log, endpoints))
    app.extensions[FRONT] = front
    app.wsgi_app = strip_prefix(front, settings.path_prefix)  # type: ignore[assignment, method-assign]
    return app


def _scoring_endpoints(settings: Settings, model: Serving) -> dict[str, ScoringEndpoint]:
    gate = authenticator(settings)
    return {route.path: ScoringEndpoint(route, model, gate, settings.max_body_bytes) for route in PROTOCOLS}


def _view(endpoint: ScoringEndpoint) -> Callable[[], Response]:
    return lambda: _response(answer(endpoint, request.environ))


def _add_health(app: Flask, model: Serving) -> None:
    @app.get("/")
    def root() -> Response:
        return Response("Healthy", mimetype="text/plain")

    @app.get("/healthz")
    def healthz() -> Response:
        return _response(json_reply(b'{"status":"alive"}'))

    @app.get("/readyz")
    def readyz() -> Response:
        state = model.state
        return _response(json_reply(orjson.dumps({"state": state}), 200 if state == "ready" else 503))


def _add_metrics(app: Flask, model: Serving, metrics: Metrics) -> None:
    @app.get("/metrics")
    def exposition() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE)

    @app.get("/load")
    def load() -> Response:
        report = model.load_report()
        return _response(
            json_reply(orjson.dumps({"busy": report.busy, "queued": report.queued, "slots": report.slots}))
        )


def _response(reply: Reply) -> Response:
    if reply.code:
        request.environ[ERROR_CODE] = reply.code
    return Response(reply.body, reply.status, reply.headers)


def _http_error(error: HTTPException) -> Response:
    """Turn what Flask itself raises (no such path, wrong method) into our form."""
    own: errors.RequestError
    if error.code == 404:
        own = errors.NotFound(f"there is nothing at {request.path}; POST /score scores")
    elif error.code == 405:
        # Flask gives the methods that the path does have.
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        own = errors.MethodNotAllowed(f"{request.method} is not possible here; use {allowed}", [("Allow", allowed)])
    else:
        own = errors.RequestInvalid("this request cannot be understood")
    return _response(error_reply(own, request.environ[REQUEST_ID]))


def _unexpected(error: Exception) -> Response:
    _logger.error("answering a request raised %s", type(error).__name__, exc_info=error)
    own = errors.RequestError("an unexpected error; the server's log says where")
    return _response(error_reply(own, request.environ[REQUEST_ID]))
