"""The Open Inference Protocol, V2, over HTTP: JSON, and the extension for binary tensors both ways.

A request names its tensors: {"inputs": [{"name", "shape", "datatype", "data"}]}, with the data flat or nested. In the
binary form the JSON comes first, as long as the header Inference-Header-Content-Length says, and the tensors that have
the parameter binary_data_size follow it, one after the other. Answers are JSON but for the outputs that were asked for
with binary_data (or all, with binary_data_output).

`"parameters": {"method": "predict_proba"}` asks for another method of the model; so do outputs with a method's name.

Sources: the protocol's inference_rest.md; Triton's extensions "binary tensor data" and "parameters".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scoring_runtime.errors import InputInvalid, RequestError, not_loaded
from scoring_runtime.protocols import schemas
from scoring_runtime.protocols.call import Call, Described, Explained, Request
from scoring_runtime.protocols.compression import accepted_encoding, compressed
from scoring_runtime.protocols.datatypes import DTYPES, check_shape, datatype_of, from_raw, objects, to_raw
from scoring_runtime.protocols.routes import Asked, ErrorForm, Operation, ReadingRoute, ScoringRoute, ServedModel
from scoring_runtime.protocols.rows import check_json, json_object, plain, to_json
from scoring_runtime.protocols.v2tensors import call_of, metadata_of, outputs_of
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.tensors import Array, Tensors

HEADER_LENGTH = "Inference-Header-Content-Length"
OCTETS = "application/octet-stream"
_EXAMPLE = '{"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP64", "data": […]}]}'


class _Output(NamedTuple):
    name: str
    binary: bool


class _Detail(NamedTuple):
    """What a request says of its answer."""

    model: Described
    request_id: str | None
    outputs: tuple[_Output, ...]
    binary: bool
    encoding: str


class InferRoutes:
    """Decodes requests to one model, under one or more paths, and encodes the answers in its name."""

    def __init__(self, served: ServedModel) -> None:
        self._head = {"model_name": served.name, "model_version": served.version}

    def decode(self, request: Request) -> Call:
        """See `ScoringRoute.decode`."""
        length = request.header(HEADER_LENGTH)
        if length is None:
            check_json(request.content_type)
            head, tail = json_object(request.body, _EXAMPLE), memoryview(b"")
        else:
            head, tail = _split(request.body, length)
        inputs = _inputs(head, tail)
        parameters = _parameters(head, "the request")
        method = parameters.get("method", "")
        if type(method) is not str:
            raise InputInvalid('the parameter "method" must be a string, such as "predict_proba"')
        binary = _flag(parameters, "binary_data_output", False)
        outputs = _requested(head, binary)
        request_id = head.get("id")
        if request_id is not None and type(request_id) is not str:
            raise InputInvalid('"id" must be a string')
        call = call_of(inputs, request.model, method, [output.name for output in outputs])
        encoding = accepted_encoding(request.header("Accept-Encoding"))
        return call._replace(detail=_Detail(request.model, request_id, outputs, binary, encoding))

    def encode(self, result: Tensors, call: Call) -> Reply:
        """See `ScoringRoute.encode`."""
        detail = call.detail
        assert isinstance(detail, _Detail)
        binary = {output.name: output.binary for output in detail.outputs}
        written: list[dict[str, Any]] = []
        tails: list[bytes | memoryview] = []
        for name, array in outputs_of(result, detail.model, call.method, list(binary)):
            output: dict[str, Any] = {"name": name, "datatype": datatype_of(array.dtype), "shape": array.shape}
            if binary.get(name, detail.binary):
                tail = to_raw(array)
                output["parameters"] = {"binary_data_size": len(tail)}
                tails.append(tail)
            else:
                output["data"] = plain(array.reshape(-1))
            written.append(output)
        document = self._head | ({"id": detail.request_id} if detail.request_id is not None else {})
        head = to_json(document | {"outputs": written})
        if not tails:
            return compressed(json_reply(head), detail.encoding)
        body = b"".join((head, *tails))
        headers = [
            ("Content-Type", OCTETS),
            ("Content-Length", str(len(body))),
            (HEADER_LENGTH, str(len(head))),
        ]
        return compressed(Reply(200, headers, body), detail.encoding)


def scoring_routes(served: ServedModel) -> tuple[ScoringRoute, ...]:
    """Return the paths of `infer`, without and with the version."""
    infer = InferRoutes(served)
    return tuple(ScoringRoute(f"{path}/infer", infer.decode, infer.encode, _operation) for path in _paths(served))


def server_routes(server_version: str) -> tuple[ReadingRoute, ...]:
    """Return what the server says of itself: health and metadata."""

    def server(asked: Asked) -> Reply:
        about = {"name": "scoring-runtime", "version": server_version, "extensions": ["binary_tensor_data"]}
        return json_reply(to_json(about))

    def live(asked: Asked) -> Reply:
        return json_reply(b'{"live":true}')

    def ready(asked: Asked) -> Reply:
        return json_reply(to_json({"ready": asked.ready}), 200 if asked.ready else 503)

    return (
        ReadingRoute("/v2", server, "What this server is"),
        ReadingRoute("/v2/health/live", live, "Whether the process lives"),
        ReadingRoute("/v2/health/ready", ready, "Whether the model is ready"),
    )


def model_routes(served: ServedModel) -> tuple[ReadingRoute, ...]:
    """Return a model's readiness and metadata."""

    def model_ready(asked: Asked) -> Reply:
        return json_reply(to_json({"name": served.name, "ready": asked.ready}), 200 if asked.ready else 503)

    def metadata(asked: Asked) -> Reply:
        if asked.model is None:
            raise not_loaded()
        inputs, outputs = metadata_of(asked.model)
        about = {"name": served.name, "versions": [served.version], "platform": asked.model.platform}
        more = {"parameters": asked.model.parameters} if isinstance(asked.model, Explained) else {}
        return json_reply(to_json({**about, "inputs": inputs, "outputs": outputs, **more}))

    routes = []
    for path in _paths(served):
        routes.append(ReadingRoute(path, metadata, "What the model takes and gives", open=False))
        routes.append(ReadingRoute(f"{path}/ready", model_ready, "Whether the model is ready"))
    return tuple(routes)


def error_document(error: RequestError, request_id: str) -> object:
    """Return the protocol's form of an error."""
    return {"error": error.message}


ERRORS = ErrorForm(("/v2", "/v2/"), error_document)


def _paths(served: ServedModel) -> tuple[str, str]:
    path = f"/v2/models/{served.name}"
    return path, f"{path}/versions/{served.version}"


def _operation(model: Described) -> Operation:
    return Operation(
        "Score tensors (Open Inference Protocol V2)",
        "Open Inference Protocol V2",
        schemas.infer_request(model),
        schemas.INFER_RESPONSE,
        schemas.KSERVE_ERROR,
        (OCTETS,),
    )


def _split(body: bytes, length: str) -> tuple[dict[str, Any], memoryview]:
    whole = memoryview(body)
    if not (length.isascii() and length.isdigit()) or not 0 < int(length) <= len(whole):
        raise InputInvalid(
            f"{HEADER_LENGTH} must be the length of the JSON at the start of the body, 1 to {len(whole)} here"
        )
    end = int(length)
    return json_object(whole[:end], _EXAMPLE), whole[end:]


def _inputs(head: dict[str, Any], tail: memoryview) -> list[tuple[str, Array]]:
    given = head.get("inputs")
    if type(given) is not list or not given:
        raise InputInvalid(f'the body has no "inputs"; send {_EXAMPLE}')
    inputs = []
    position = 0
    for one in given:
        name, datatype, shape = _declared(one)
        size = _parameters(one, f"input {name}").get("binary_data_size")
        if size is None:
            inputs.append((name, _from_json(name, datatype, shape, one.get("data"))))
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - position:
            raise InputInvalid(f"input {name}: binary_data_size is {size!r}, and {len(tail) - position} bytes follow")
        if "data" in one:
            raise InputInvalid(f'input {name} has both "data" and binary_data_size; send one of them')
        inputs.append((name, from_raw(name, datatype, shape, tail[position : position + size])))
        position += size
    if position != len(tail):
        raise InputInvalid(f"{len(tail) - position} bytes at the end of the body belong to no input")
    return inputs


def _declared(one: Any) -> tuple[str, str, list[int]]:
    if type(one) is not dict or type(one.get("name")) is not str:
        raise InputInvalid('each of the "inputs" must be an object with a "name"')
    name, datatype, shape = one["name"], one.get("datatype"), one.get("shape")
    if type(datatype) is not str:
        raise InputInvalid(f'input {name} has no "datatype"; it is one of {", ".join(DTYPES)}')
    if type(shape) is not list or not all(type(length) is int for length in shape):
        raise InputInvalid(f'input {name} has no "shape", a list of whole numbers such as [1, 4]')
    return name, datatype, shape


def _from_json(name: str, datatype: str, shape: list[int], data: Any) -> Array:
    """Return the array of a tensor that is written as JSON, flat or nested as its shape says."""
    count = check_shape(name, datatype, shape)
    if type(data) is not list:
        raise InputInvalid(f'input {name} has no "data", a list; or its bytes behind the JSON, with binary_data_size')
    nested = bool(data) and type(data[0]) is list
    cells = np.asarray(data, dtype=object) if nested else None
    if cells is not None and cells.shape != tuple(shape):
        raise InputInvalid(f'the "data" of input {name} is nested as {list(cells.shape)}; its shape is {shape}')
    flat: list[Any] = data if cells is None else cells.ravel().tolist()
    if len(flat) != count:
        raise InputInvalid(f'input {name} has {len(flat)} values in "data"; the shape {shape} has {count}')
    kinds = set(map(type, flat))
    if not kinds <= _KINDS[DTYPES[datatype].kind]:
        wrong = next(value for value in flat if type(value) not in _KINDS[DTYPES[datatype].kind])
        raise InputInvalid(f"input {name} is {datatype} and has {_shown(wrong)} in its data")
    if datatype == "BYTES":
        return objects(flat, shape)
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, DTYPES[datatype]).reshape(shape)
    except OverflowError:
        raise InputInvalid(f"input {name} has a number that is too large or too small for {datatype}") from None


# What JSON may hold for each kind of dtype. null is NaN.
_KINDS: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float, type(None)}),
    "O": frozenset({str}),
}


def _shown(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), f"the number {value}")


def _requested(head: dict[str, Any], binary: bool) -> tuple[_Output, ...]:
    outputs = head.get("outputs")
    if outputs is None:
        return ()
    if type(outputs) is not list:
        raise InputInvalid('"outputs" must be a list of objects with a "name"')
    requested = []
    for one in outputs:
        if type(one) is not dict or type(one.get("name")) is not str:
            raise InputInvalid('each of the "outputs" must be an object with a "name"')
        parameters = _parameters(one, f"output {one['name']}")
        if "classification" in parameters or "shared_memory_region" in parameters:
            raise InputInvalid(f"output {one['name']}: classification and shared memory are not supported")
        requested.append(_Output(one["name"], _flag(parameters, "binary_data", binary)))
    if len({output.name for output in requested}) != len(requested):
        raise InputInvalid('"outputs" has a name twice')
    return tuple(requested)


def _parameters(owner: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise InputInvalid(f'the "parameters" of {what} must be an object')
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise InputInvalid(f'the parameter "{name}" must be true or false')
    return value
