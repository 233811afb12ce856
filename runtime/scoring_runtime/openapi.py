"""The server's own description: Swagger 2.0, OpenAPI 3.0 and 3.1, made from the routes and the model's signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from scoring_runtime.protocols import Routes
from scoring_runtime.protocols.call import Described
from scoring_runtime.protocols.routes import Operation, Schema, ServedModel
from scoring_runtime.replies import JSON

VERSIONS = {"2": "2.0", "3": "3.0.3", "3.0": "3.0.3", "3.1": "3.1.0"}
"""What `version` may be in a query, and which version of the specification it is."""
DEFAULT_VERSION = "2"

_ERROR: Schema = {"description": "An error; the message says what to do", "schema": {"type": "object"}}
_HEALTH = {
    "/": "Whether the process lives",
    "/healthz": "Whether the process lives",
    "/readyz": "Whether the model is ready",
}
_REPORTS = {"/load": "How busy the model is", "/metrics": "Metrics for Prometheus"}


@dataclass(frozen=True)
class Service:
    """What is described: the model and its routes, and the path in front of them.

    `secured` says whether a key or token is needed, `reports` whether metrics and load are on the port for requests.
    """

    served: ServedModel
    routes: Routes
    model: Described
    base: str
    secured: bool
    reports: bool


def describe(service: Service, version: str) -> dict[str, Any]:
    """Return the document for a version, one of `VERSIONS`."""
    specification = VERSIONS[version]
    return _swagger(service) if specification == "2.0" else _openapi(service, specification)


def _info(service: Service) -> dict[str, str]:
    return {
        "title": service.served.name,
        "version": service.served.version,
        "description": f"The model {service.served.name}, version {service.served.version}.",
    }


def _swagger(service: Service) -> dict[str, Any]:
    paths: dict[str, Any] = {path: {"get": _get_2(path, summary)} for path, summary in _readings(service).items()}
    for route in service.routes.scoring:
        operation = route.describe(service.model)
        paths[route.path] = {
            "post": {
                **_named("post", route.path, operation),
                "consumes": [JSON, *operation.other_types],
                "produces": [JSON],
                "parameters": [{"in": "body", "name": "body", "required": True, "schema": operation.request}],
                "responses": {
                    "200": {"description": "The predictions", "schema": operation.response},
                    "default": _ERROR | {"schema": operation.error},
                },
                **_security(service),
            }
        }
    document = {"swagger": "2.0", "info": _info(service), "basePath": service.base or "/", "paths": paths}
    if service.secured:
        scheme = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "Bearer KEY"}
        document["securityDefinitions"] = {"Bearer": scheme}
    return document


def _get_2(path: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": _identifier("get", path),
        "summary": summary,
        "responses": {"200": {"description": summary}, "default": _ERROR},
    }


def _openapi(service: Service, specification: str) -> dict[str, Any]:
    error = {"description": _ERROR["description"], "content": {JSON: {"schema": _ERROR["schema"]}}}
    paths: dict[str, Any] = {
        path: {
            "get": {
                "operationId": _identifier("get", path),
                "summary": summary,
                "responses": {"200": {"description": summary}, "default": error},
            }
        }
        for path, summary in _readings(service).items()
    }
    for route in service.routes.scoring:
        operation = route.describe(service.model)
        answer = {"description": "The predictions", "content": {JSON: {"schema": operation.response}}}
        refusal = {"description": _ERROR["description"], "content": {JSON: {"schema": operation.error}}}
        paths[route.path] = {
            "post": {
                **_named("post", route.path, operation),
                "requestBody": {"required": True, "content": _content(operation)},
                "responses": {"200": answer, "default": refusal},
                **_security(service),
            }
        }
    document = {"openapi": specification, "info": _info(service), "servers": [{"url": service.base or "/"}]}
    document["paths"] = paths
    if service.secured:
        document["components"] = {"securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}}}
    return document


def _content(operation: Operation) -> dict[str, Any]:
    octets = {"schema": {"type": "string", "format": "binary"}}
    return {JSON: {"schema": operation.request}, **dict.fromkeys(operation.other_types, octets)}


def _readings(service: Service) -> dict[str, str]:
    reports = _REPORTS if service.reports else {}
    return _HEALTH | reports | {route.path: route.summary for route in service.routes.reading}


def _named(method: str, path: str, operation: Operation) -> dict[str, Any]:
    return {"operationId": _identifier(method, path), "summary": operation.summary, "tags": [operation.tag]}


def _security(service: Service) -> dict[str, Any]:
    return {"security": [{"Bearer": []}]} if service.secured else {}


def _identifier(method: str, path: str) -> str:
    return "_".join([method, *re.findall(r"\w+", path)])
