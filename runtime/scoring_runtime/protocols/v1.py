"""KServe's V1 protocol: POST /v1/models/NAME:predict with {"instances": […]}, answered by {"predictions": […]}.

Instances are rows, or objects whose fields are the columns of a table or the inputs of a model; bytes are written
{"b64": "…"}. `"parameters": {"method": "predict_proba"}` asks for another method than `predict`. There is one
prediction for each instance; where the model has several outputs, it is an object of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scoring_runtime.errors import InputInvalid, RequestError
from scoring_runtime.protocols import schemas
from scoring_runtime.protocols.call import Call, Described, Request
from scoring_runtime.protocols.routes import Asked, ErrorForm, Operation, ReadingRoute, ScoringRoute, ServedModel
from scoring_runtime.protocols.rows import check_json, json_object, plain, rows, to_json, without_unknown_names
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.tensors import Records, Tensors

_EXAMPLE = '{"instances": [[…], …]}'


def decode(request: Request) -> Call:
    """Read a request. Raises UnsupportedMediaType, and InputInvalid with what is wrong and where."""
    check_json(request.content_type)
    body = json_object(request.body, _EXAMPLE)
    if "instances" not in body:
        raise InputInvalid(f'the body has no "instances"; send {_EXAMPLE}')
    inputs = without_unknown_names(rows(body["instances"], "instances"), request.model.signature)
    return Call(inputs, method_in(body, "parameters"))


def method_in(body: dict[str, Any], field: str) -> str:
    """Return the method that the parameters in a field ask for, or an empty string. Raises InputInvalid."""
    parameters = body.get(field)
    if parameters is None:
        return ""
    method = parameters.get("method", "") if type(parameters) is dict else None
    if type(method) is not str:
        raise InputInvalid(f'"{field}" must be an object; its "method" is a string, such as "predict_proba"')
    return method


def encode(result: Tensors, call: Call) -> Reply:
    """Write a result: one prediction for each row."""
    if len(result.arrays) == 1 and result.names is None:
        return json_reply(to_json({"predictions": plain(result.arrays[0])}))
    if isinstance(result, Records):
        return json_reply(to_json({"predictions": result.records()}))
    names = result.names or tuple(f"output_{number}" for number in range(len(result.arrays)))
    columns = [array.tolist() for array in result.arrays]
    return json_reply(
        to_json({"predictions": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]})
    )


def scoring_routes(served: ServedModel) -> tuple[ScoringRoute, ...]:
    """Return the path of `:predict`."""
    return (ScoringRoute(f"/v1/models/{served.name}:predict", decode, encode, _operation),)


def server_routes(names: Sequence[str]) -> tuple[ReadingRoute, ...]:
    """Return the list of models."""

    def models(asked: Asked) -> Reply:
        return json_reply(to_json({"models": names}))

    return (ReadingRoute("/v1/models", models, "The names of the models"),)


def model_routes(served: ServedModel) -> tuple[ReadingRoute, ...]:
    """Return a model's readiness."""

    def ready(asked: Asked) -> Reply:
        return json_reply(to_json({"name": served.name, "ready": asked.ready}), 200 if asked.ready else 503)

    return (ReadingRoute(f"/v1/models/{served.name}", ready, "Whether the model is ready"),)


def error_document(error: RequestError, request_id: str) -> object:
    """Return the protocol's form of an error."""
    return {"error": error.message}


ERRORS = ErrorForm(("/v1", "/v1/"), error_document)


def _operation(model: Described) -> Operation:
    return Operation(
        "Score instances (KServe V1)",
        "KServe V1",
        schemas.with_rows("instances", model),
        schemas.answer("predictions", model),
        schemas.KSERVE_ERROR,
    )
