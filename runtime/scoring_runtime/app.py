"""The web application.

`create_app` has no side effects: it opens no port, starts no thread, reads no file but the keys, and touches no global.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from scoring_runtime import errors, openapi, page
from scoring_runtime.auth import Authenticator, authenticator
from scoring_runtime.logs import AccessLog
from scoring_runtime.metrics import Metrics
from scoring_runtime.protocols import Routes, ServedModel
from scoring_runtime.protocols.routes import Asked, ReadingRoute
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.repository.recorder import RepositoryRecorder
from scoring_runtime.repository.serving import Repository
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings
from scoring_runtime.web.cors import allow_origins
from scoring_runtime.web.front import ERROR_CODE, Front, Handler, answer, fault, refusal, strip_prefix
from scoring_runtime.web.operations import Operations, Report
from scoring_runtime.web.recorder import Recorder
from scoring_runtime.web.scoring import ScoringEndpoint
from scoring_runtime.web.sites import Map, map_of

if TYPE_CHECKING:
    from scoring_runtime.collection.collector import Collector

# Where Flask keeps the outermost layer, by its own convention for what extends an app.
FRONT = "scoring.front"
GATE = "scoring.gate"
OPERATIONS = "scoring.operations"
RECORDER = "scoring.recorder"
_ROOTS = {"azure": ("text/plain; charset=utf-8", b"Healthy"), "kserve": ("application/json", b'{"status":"alive"}')}


def create_app(
    settings: Settings,
    model: Serving | Repository,
    metrics: Metrics | None = None,
    access_log: AccessLog | None = None,
    collector: Collector | None = None,
) -> Flask:
    """Return the WSGI application that serves `model`, one or several, which may still be loading.

    Several models have metrics of their own, and no collector. Raises SettingsInvalid when the keys are asked for and
    missing.
    """
    metrics = _watching(settings, model, metrics)
    app = Flask("scoring_runtime", static_folder=None)
    # Otherwise //score is answered by a redirect in HTML.
    app.url_map.merge_slashes = False
    gate = authenticator(settings)
    routes = map_of(settings, model)
    endpoints = _endpoints(routes, gate, settings.max_body_bytes)
    describer = _describer(settings, routes.described)
    front_class = Front
    if settings.framework == "script":
        assert isinstance(model, Serving)
        from scoring_runtime.web import scripted

        describer = scripted.install(app, endpoints, scripted.Around(settings, model, gate))
        front_class = scripted.ScriptFront
    for path, endpoint in endpoints.items():
        if path not in app.view_functions:
            app.add_url_rule(path, path, _view(endpoint), methods=["POST"])
    operations = Operations(model, metrics, gate if settings.metrics_auth == "required" else None)
    _add_operations(app, operations, settings)
    docs = gate if settings.docs_auth == "required" else None
    description = ReadingRoute("/swagger.json", describer, "This description", open=False)
    for route, told in _reading(settings, model, routes, description):
        app.add_url_rule(route.path, route.path, _reading_view(route, told, docs), methods=["GET"])
    _add_errors(app)
    if isinstance(model, Repository):
        recorder: Recorder = RepositoryRecorder(model.metrics, access_log, _paths(routes, model))
    else:
        recorder = Recorder(metrics, access_log, endpoints, collector)
    front = front_class(app.wsgi_app, endpoints, model, recorder)
    app.extensions |= {FRONT: front, GATE: gate, OPERATIONS: operations, RECORDER: recorder}
    app.wsgi_app = strip_prefix(allow_origins(front, settings.cors_origins), settings.path_prefix)  # type: ignore[assignment, method-assign]
    return app


def _endpoints(routes: Map, gate: Authenticator, max_body_bytes: int) -> dict[str, Handler]:
    """Return what scores, by its path."""
    return {
        route.path: ScoringEndpoint(route, site.serving, gate, max_body_bytes)
        for site in routes.sites
        for route in site.routes.scoring
    }


def _add_errors(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(errors.RequestError, _refused)
    app.register_error_handler(Exception, _unexpected)


def _add_operations(app: Flask, operations: Operations, settings: Settings) -> None:
    """Add `GET /`, health, and, unless they have a port of their own, metrics and load."""
    kind, alive = _ROOTS[settings.root]
    app.add_url_rule("/", "/", lambda: Response(alive, content_type=kind), methods=["GET"])
    reports = {} if settings.metrics_port else operations.reports
    for path, report in (operations.health | reports).items():
        app.add_url_rule(path, path, _report_view(report), methods=["GET"])


def _watching(settings: Settings, model: Serving | Repository, metrics: Metrics | None) -> Metrics:
    if isinstance(model, Repository):
        model.metrics.watch_repository(model)
        return model.metrics
    metrics = metrics or Metrics()
    metrics.watch(model, settings)
    return metrics


def _reading(
    settings: Settings, model: Serving | Repository, routes: Map, description: ReadingRoute
) -> list[tuple[ReadingRoute, Serving | Repository]]:
    """Return the routes that tell something, each with whom it is about; the page is about the first model."""
    first = routes.sites[0]
    of_page = page.routes(first.settings, first.serving) if settings.ui == "on" else ()
    return [
        *((route, site.serving) for site in routes.sites for route in site.routes.reading),
        *((route, model) for route in (*routes.common.reading, description)),
        *((route, first.serving) for route in of_page),
    ]


def _paths(routes: Map, repository: Repository) -> dict[str, list[str]]:
    """Return the scoring paths of each model by its name."""
    each = zip(repository.servings, routes.sites, strict=True)
    return {name: [route.path for route in site.routes.scoring] for name, site in each}


def _view(endpoint: Handler) -> Callable[[], Response]:
    return lambda: _response(answer(endpoint, request.environ))


def _reading_view(
    route: ReadingRoute, model: Serving | Repository, gate: Authenticator | None
) -> Callable[[], Response]:
    def view() -> Response:
        if gate is not None and not route.open:
            gate.check(request.environ.get("HTTP_AUTHORIZATION"))
        asked = Asked(model.state == "ready", model.model, request.args, request.environ.get("SCRIPT_NAME", ""))
        return _response(route.answer(asked))

    return view


def _describer(settings: Settings, routes: Routes) -> Callable[[Asked], Reply]:
    served = ServedModel(settings.model_name, settings.model_version)

    def describe(asked: Asked) -> Reply:
        version = asked.query.get("version", openapi.DEFAULT_VERSION)
        if version not in openapi.VERSIONS:
            raise errors.NotFound(f"there is no description of that version; known are {', '.join(openapi.VERSIONS)}")
        if asked.model is None:
            raise errors.not_loaded()
        secured, reports = settings.auth != "none", not settings.metrics_port
        service = openapi.Service(served, routes, asked.model, asked.base, secured, reports)
        return json_reply(orjson.dumps(openapi.describe(service, version)))

    return describe


def _report_view(report: Report) -> Callable[[], Response]:
    return lambda: _response(report(request.environ.get("HTTP_AUTHORIZATION")))


def _response(reply: Reply) -> Response:
    if reply.code:
        request.environ[ERROR_CODE] = reply.code
    return Response(reply.body, reply.status, reply.headers)


def _http_error(error: HTTPException) -> Response:
    """Turn what Flask itself raises (no such path, wrong method) into our form, or that of the path's protocol."""
    own: errors.RequestError
    if error.code == 404:
        own = errors.NotFound(
            f"there is nothing at {request.path}; POST /score scores, GET /swagger.json tells the rest"
        )
    elif error.code == 405:
        # Flask gives the methods that the path does have.
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        own = errors.MethodNotAllowed(f"{request.method} is not possible here; use {allowed}", [("Allow", allowed)])
    else:
        own = errors.RequestInvalid("this request cannot be understood")
    return _response(refusal(own, request.environ))


def _refused(error: errors.RequestError) -> Response:
    return _response(refusal(error, request.environ))


def _unexpected(error: Exception) -> Response:
    return _response(fault(error, request.environ))
