"""ModelInfer's messages ↔ what is scored.

Tensors come typed (InferTensorContents, one list for each group of datatypes) or raw (one bytes field a tensor), and
the answer has the form of the request. FP16 is written raw always: there is no typed field for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from scoring_runtime.errors import InputInvalid, NotFound
from scoring_runtime.protocols.call import Call, Described
from scoring_runtime.protocols.datatypes import DTYPES, check_shape, datatype_of, from_raw, objects, to_raw
from scoring_runtime.protocols.routes import ServedModel
from scoring_runtime.protocols.v2tensors import call_of, outputs_of
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.wire import with_raw_outputs, without_raw_inputs
from scoring_runtime.tensors import Array, Tensors

# Where InferTensorContents holds each datatype.
TYPED_FIELDS = MappingProxyType(
    {
        "BOOL": "bool_contents",
        "INT8": "int_contents",
        "INT16": "int_contents",
        "INT32": "int_contents",
        "INT64": "int64_contents",
        "UINT8": "uint_contents",
        "UINT16": "uint_contents",
        "UINT32": "uint_contents",
        "UINT64": "uint64_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
        "BYTES": "bytes_contents",
    }
)
_UNSUPPORTED = ("classification", "shared_memory_region")


class Detail(NamedTuple):
    """What a request says of its answer."""

    model: Described
    request_id: str
    outputs: tuple[str, ...]
    raw: bool


def decode(message: bytes, served: ServedModel, model: Described) -> Call:
    """Read an encoded ModelInferRequest.

    Raises NotFound for another model, InputInvalid for what cannot be scored, RequestInvalid for what is no message.
    """
    rest, raw = without_raw_inputs(message)
    request = messages.parsed(messages.ModelInferRequest, rest)
    check_model(served, request.model_name, request.model_version)
    raw = raw or request.raw_input_contents
    inputs = _inputs(request, raw)
    outputs = tuple(_requested(output) for output in request.outputs)
    if len(set(outputs)) != len(outputs):
        raise InputInvalid("an output is requested twice")
    call = call_of(inputs, model, _method(request.parameters), outputs)
    return call._replace(detail=Detail(model, request.id, outputs, bool(raw)))


def encode(result: Tensors, call: Call, served: ServedModel) -> bytes:
    """Write a ModelInferResponse."""
    detail = call.detail
    assert isinstance(detail, Detail)
    outputs = outputs_of(result, detail.model, call.method, detail.outputs)
    response = messages.ModelInferResponse(model_name=served.name, model_version=served.version, id=detail.request_id)
    described = [(name, datatype_of(array.dtype), array) for name, array in outputs]
    raw = detail.raw or any(datatype not in TYPED_FIELDS for _, datatype, _ in described)
    for name, datatype, array in described:
        output = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if not raw:
            getattr(output.contents, TYPED_FIELDS[datatype]).extend(_typed(array, datatype))
    encoded = messages.encoded(response)
    return with_raw_outputs(encoded, [to_raw(array) for _, _, array in described]) if raw else encoded


def check_model(served: ServedModel, name: str, version: str) -> None:
    """Raise NotFound unless this is the model that is served, and its version, or none."""
    if name != served.name:
        raise NotFound(f"there is no model {name!r} here; this server has {served.name}")
    if version not in ("", served.version):
        raise NotFound(f"model {name} has no version {version!r} here; this server has {served.version}")


def _inputs(request: Any, raw: Any) -> list[tuple[str, Array]]:
    if not raw:
        return [(one.name, _from_typed(one)) for one in request.inputs]
    if len(raw) != len(request.inputs):
        raise InputInvalid(
            f"there are {len(request.inputs)} inputs and {len(raw)} raw_input_contents; send one for each, or none"
        )
    inputs = []
    for one, content in zip(request.inputs, raw, strict=True):
        if one.HasField("contents"):
            raise InputInvalid(f"input {one.name} has contents beside raw_input_contents; send one of them")
        inputs.append((one.name, from_raw(one.name, one.datatype, tuple(one.shape), content)))
    return inputs


def _from_typed(one: Any) -> Array:
    count = check_shape(one.name, one.datatype, one.shape)
    field = TYPED_FIELDS.get(one.datatype)
    if field is None:
        raise InputInvalid(f"input {one.name} is {one.datatype}, which must be sent as raw_input_contents")
    values = getattr(one.contents, field)
    if len(values) != count:
        raise InputInvalid(
            f"input {one.name} has {len(values)} {field}; {one.datatype} of shape {list(one.shape)} has {count}"
        )
    if one.datatype == "BYTES":
        return objects(values, tuple(one.shape))
    try:
        return np.array(values, DTYPES[one.datatype]).reshape(tuple(one.shape))
    except OverflowError:
        raise InputInvalid(f"input {one.name} has a number that is too large or too small for {one.datatype}") from None


def _typed(array: Array, datatype: str) -> Iterable[Any]:
    values = array.ravel().tolist()
    if datatype != "BYTES":
        return values
    return [value if isinstance(value, bytes) else str(value).encode("utf-8", "replace") for value in values]


def _requested(output: Any) -> str:
    for parameter in _UNSUPPORTED:
        if parameter in output.parameters:
            raise InputInvalid(f"output {output.name}: classification and shared memory are not supported")
    name: str = output.name
    return name


def _method(parameters: Mapping[str, Any]) -> str:
    if "method" not in parameters:
        return ""
    method: str = parameters["method"].string_param
    if not method:
        raise InputInvalid('the parameter "method" must be a string_param, such as "predict_proba"')
    return method
