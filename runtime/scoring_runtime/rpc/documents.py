"""ModelInfer's messages as the JSON that the same protocol has over HTTP, for records of what was scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scoring_runtime.collection.documents import tensor_values
from scoring_runtime.errors import RequestInvalid
from scoring_runtime.protocols.datatypes import DTYPES, from_raw, objects
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.codec import TYPED_FIELDS
from scoring_runtime.tensors import Array


def request_document(message: bytes) -> dict[str, Any]:
    """Return an encoded ModelInferRequest as V2's JSON has it. Raises a RequestError for what is none."""
    request = messages.parsed(messages.ModelInferRequest, message)
    document = _named(request, request.inputs, request.raw_input_contents, "inputs")
    if request.outputs:
        document["outputs"] = [{"name": output.name, **_parameters(output.parameters)} for output in request.outputs]
    return document


def response_document(message: bytes) -> dict[str, Any]:
    """Return an encoded ModelInferResponse as V2's JSON has it. Raises a RequestError for what is none."""
    response = messages.parsed(messages.ModelInferResponse, message)
    document = _named(response, response.outputs, response.raw_output_contents, "outputs")
    return {"model_name": response.model_name, "model_version": response.model_version, **document}


def _named(message: Any, tensors: Sequence[Any], raw: Sequence[bytes], field: str) -> dict[str, Any]:
    contents: Sequence[bytes | None] = raw or [None] * len(tensors)
    if len(contents) != len(tensors):
        raise RequestInvalid(f"there are {len(tensors)} tensors and {len(contents)} raw contents")
    written = [
        {
            "name": one.name,
            "datatype": one.datatype,
            "shape": list(one.shape),
            **_parameters(one.parameters),
            **tensor_values(_values(one, content), content),
        }
        for one, content in zip(tensors, contents, strict=True)
    ]
    own = {"id": message.id} if message.id else {}
    return {**own, **_parameters(message.parameters), field: written}


def _values(tensor: Any, raw: bytes | None) -> Array:
    if raw is not None:
        return from_raw(tensor.name, tensor.datatype, tuple(tensor.shape), raw)
    values = getattr(tensor.contents, TYPED_FIELDS.get(tensor.datatype, "bytes_contents"))
    if tensor.datatype == "BYTES":
        return objects(values, (len(values),))
    return np.array(values, DTYPES.get(tensor.datatype))


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    if not parameters:
        return {}
    return {"parameters": {name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
                           for name, value in parameters.items()}}  # fmt: skip
