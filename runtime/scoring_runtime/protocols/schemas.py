"""JSON schemas of what the protocols take and give, made from a model's signature.

They keep to what Swagger 2.0 and OpenAPI 3.0 and 3.1 have in common. What a model does not say is left open.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scoring_runtime.protocols import examples
from scoring_runtime.protocols.call import Described
from scoring_runtime.protocols.datatypes import DTYPES
from scoring_runtime.protocols.routes import Schema
from scoring_runtime.tensors import TensorSpec

_KINDS = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
_TEXT: Schema = {"type": "string"}
_NAMED: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _TEXT, "parameters": {"type": "object"}},
}

AZURE_ERROR: Schema = {
    "type": "object",
    "required": ["error", "requestId"],
    "properties": {
        "error": {"type": "object", "required": ["code", "message"], "properties": {"code": _TEXT, "message": _TEXT}},
        "requestId": _TEXT,
    },
}
KSERVE_ERROR: Schema = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
MLFLOW_ERROR: Schema = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": _TEXT, "message": _TEXT},
}

INFER_RESPONSE: Schema = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": _TEXT,
                    "datatype": _TEXT,
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "parameters": {"type": "object"},
                    "data": {"type": "array", "items": {}},
                },
            },
        },
    },
}


def rows(model: Described) -> Schema:
    """Return the schema of rows: objects for a model that takes columns by name, lists or single values for others."""
    specs = model.signature.inputs
    if len(specs) > 1:
        fields = {spec.name: _nested(spec, spec.shape[1:]) for spec in specs}
        row: Schema = {"type": "object", "required": list(fields), "properties": fields}
    elif specs:
        row = _nested(specs[0], specs[0].shape[1:])
    else:
        row = {}
    return {"type": "array", "minItems": 1, "items": row}


def results(model: Described) -> Schema:
    """Return the schema of predictions: one entry for each row."""
    specs = model.signature.outputs
    if len(specs) == 1 and specs[0].shape and len(model.methods) == 1:
        return {"type": "array", "items": _nested(specs[0], specs[0].shape[1:])}
    return {}


def with_rows(field: str, model: Described) -> Schema:
    """Return the schema of an object that has rows in a field."""
    schema: Schema = {"type": "object", "required": [field], "properties": {field: rows(model)}}
    return _with_example(schema, model, lambda: {field: [examples.row(model)]})


def answer(field: str, model: Described) -> Schema:
    """Return the schema of an object that has predictions in a field."""
    return {"type": "object", "required": [field], "properties": {field: results(model)}}


def azure_request(model: Described) -> Schema:
    """Return the schema of what POST /score takes."""
    schema = with_rows("data", model)
    schema["properties"] |= {
        "columns": {"type": "array", "items": _TEXT},
        "index": {"type": "array", "items": {}},
        "method": _method(model),
    }
    if len(model.signature.inputs) > 1:
        # Rows of a table may be lists too, with or without "columns".
        schema["properties"]["data"] = {"type": "array", "minItems": 1, "items": {}}
    return schema | {"additionalProperties": False}


def mlflow_request(model: Described) -> Schema:
    """Return the schema of what POST /invocations takes as JSON."""
    split = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "columns": {"type": "array", "items": {}},
            "index": {"type": "array", "items": {}},
            "data": {"type": "array", "minItems": 1, "items": {"type": "array", "items": {}}},
        },
    }
    schema: Schema = {
        "type": "object",
        "properties": {
            "dataframe_split": split,
            "dataframe_records": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            "instances": {"type": "array", "minItems": 1, "items": {}},
            "inputs": {},
            "params": {"type": "object", "properties": {"method": _method(model)}},
        },
    }
    return _with_example(schema, model, lambda: {"inputs": examples.columns(model)})


def infer_request(model: Described) -> Schema:
    """Return the schema of what V2's `infer` takes as JSON."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": _TEXT,
            "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1}},
            "datatype": {"type": "string", "enum": list(DTYPES)},
            "parameters": {"type": "object"},
            "data": {"type": "array", "items": {}},
        },
    }
    schema: Schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _TEXT,
            "parameters": {"type": "object", "properties": {"method": _method(model)}},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {"type": "array", "items": _NAMED},
        },
    }
    return _with_example(schema, model, lambda: {"inputs": examples.tensors(model)})


def _with_example(schema: Schema, model: Described, example: Callable[[], object]) -> Schema:
    """Add an example, where the model says enough of its inputs for one."""
    return schema | {"example": example()} if examples.is_complete(model) else schema


def _method(model: Described) -> Schema:
    return {"type": "string", "enum": list(model.methods)}


def _nested(spec: TensorSpec, axes: tuple[int, ...]) -> Schema:
    """Return the schema of one row of a tensor: lists as deep as it has axes, and its numbers in them."""
    if not axes:
        return _cell(spec)
    schema: Schema = {"type": "array", "items": _nested(spec, axes[1:])}
    return schema if axes[0] < 0 else schema | {"minItems": axes[0], "maxItems": axes[0]}


def _cell(spec: TensorSpec) -> Schema:
    if not spec.dtype:
        return {}
    if spec.dtype == "object":
        return {"type": "string"}
    kind = _KINDS.get(np.dtype(spec.dtype).kind)
    return {"type": kind} if kind else {}
