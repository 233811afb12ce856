"""What clients may speak. One module for each protocol: bytes ↔ arrays.

A protocol knows HTTP's bodies and content types; it knows no framework, no queue and no web server. To add one, add a
module with its routes and its form of errors, and its lines here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scoring_runtime.errors import RequestError
from scoring_runtime.protocols import azure, mlflow, v1, v2
from scoring_runtime.protocols.routes import ReadingRoute, ScoringRoute, ServedModel

# The version of the protocols' server, which clients can ask for.
SERVER_VERSION = "0.1.0"
# The service of the same protocol as V2 over gRPC (rpc/), and what scores there.
GRPC_SERVICE = "inference.GRPCInferenceService"
GRPC_INFER = f"/{GRPC_SERVICE}/ModelInfer"

_ERROR_FORMS = (v2.ERRORS, v1.ERRORS, mlflow.ERRORS)
_ERROR_PATHS = {path: form.document for form in _ERROR_FORMS for path in form.paths}
_NAMES = {
    "score": "azure",
    "v1": "v1",
    "v2": "v2",
    "invocations": "mlflow",
    GRPC_SERVICE: "grpc",
}


class Routes(NamedTuple):
    """All paths of all protocols for one model."""

    scoring: tuple[ScoringRoute, ...]
    reading: tuple[ReadingRoute, ...]


def routes_of(served: ServedModel) -> Routes:
    """Return the routes that a model has; every protocol serves every model."""
    return Routes(
        (azure.SCORING_ROUTE, *v2.scoring_routes(served), *v1.scoring_routes(served), *mlflow.SCORING_ROUTES),
        (
            *v2.server_routes(SERVER_VERSION),
            *v2.model_routes(served),
            *v1.server_routes([served.name]),
            *v1.model_routes(served),
            *mlflow.reading_routes(SERVER_VERSION),
        ),
    )


def routes_of_one(served: ServedModel, default: bool) -> Routes:
    """Return the routes of one of several models; those whose paths name no model belong to the `default` one too."""
    unnamed = (azure.SCORING_ROUTE, *mlflow.SCORING_ROUTES) if default else ()
    named = (azure.route_of(served.name), *v2.scoring_routes(served), *v1.scoring_routes(served))
    return Routes((*unnamed, *named), (*v2.model_routes(served), *v1.model_routes(served)))


def routes_of_all(names: Sequence[str]) -> Routes:
    """Return what a server of several models tells of all of them."""
    tells = (*v2.server_routes(SERVER_VERSION), *v1.server_routes(names), *mlflow.reading_routes(SERVER_VERSION))
    return Routes((), tells)


def protocol_of(path: str) -> str:
    """Return the name of the protocol that a path to score belongs to; empty for another path."""
    return _NAMES.get(path.split("/")[1], "")


def error_document(path: str, error: RequestError, request_id: str) -> object:
    """Return what is written of an error: in the form of the protocol that has the path, in Azure's on all others."""
    first = path.find("/", 1)
    document = _ERROR_PATHS.get(path) or (_ERROR_PATHS.get(path[: first + 1]) if first > 0 else None)
    return (document or azure.error_document)(error, request_id)


__all__ = [
    "GRPC_INFER", "GRPC_SERVICE", "SERVER_VERSION", "ReadingRoute", "Routes", "ScoringRoute", "ServedModel",
    "error_document", "protocol_of", "routes_of", "routes_of_all", "routes_of_one",
]  # fmt: skip
