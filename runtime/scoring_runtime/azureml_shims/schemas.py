"""`inference_schema.schema_decorators` and `schema_util`: the types of a `run`'s arguments and of its result.

A schema is kept with the decorated function itself, so that two scripts in one process cannot meet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, NamedTuple

from scoring_runtime.azureml_shims.parameters import ALL_VERSIONS, AbstractParameterType, SchemaMismatch, convert

_ATTRIBUTE = "_scoring_schema"
_Function = Callable[..., Any]


class Parameter(NamedTuple):
    """The schema of one argument."""

    kind: AbstractParameterType
    converts: bool = True
    optional: bool = False


@dataclass
class FunctionSchema:
    """What the decorators of one function say. The output is None where nothing is said of it."""

    inputs: dict[str, Parameter] = field(default_factory=dict)
    output: AbstractParameterType | None = None


def input_schema(
    param_name: str,
    param_type: AbstractParameterType,
    convert_to_provided_type: bool = True,
    optional: bool = False,
) -> Callable[[_Function], _Function]:
    """Decorate a function whose argument `param_name` is like the sample of `param_type`.

    What comes as JSON is converted before the function is called, unless `convert_to_provided_type` is False. With
    `optional`, the argument may be missing, or be null or empty, and is then not converted.
    """
    _check_kind(param_type)
    parameter = Parameter(param_type, convert_to_provided_type, optional)

    def decorate(function: _Function) -> _Function:
        names = list(inspect.signature(function).parameters)
        if param_name not in names:
            raise ValueError(f"@input_schema names the parameter {param_name!r}; the function has {', '.join(names)}")
        position = names.index(param_name)

        @wraps(function)
        def converting(*args: Any, **kwargs: Any) -> Any:
            if param_name in kwargs:
                kwargs[param_name] = _converted(kwargs[param_name], parameter, param_name)
            elif position < len(args):
                value = _converted(args[position], parameter, param_name)
                args = (*args[:position], value, *args[position + 1 :])
            return function(*args, **kwargs)

        schema = _own_schema(converting, function)
        schema.inputs = {param_name: parameter, **schema.inputs}
        return converting

    return decorate


def output_schema(output_type: AbstractParameterType) -> Callable[[_Function], _Function]:
    """Decorate a function whose result is like the sample of `output_type`. Only the documentation uses it."""
    _check_kind(output_type)

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def described(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        schema = _own_schema(described, function)
        if schema.output is not None:
            raise ValueError("the function has two @output_schema")
        schema.output = output_type
        return described

    return decorate


def schema_of(function: _Function) -> FunctionSchema | None:
    """Return the schema of a decorated function, None for others."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, FunctionSchema) else None


def convert_arguments(function: _Function, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in the types of their schemas. Raises SchemaMismatch, which names the argument."""
    inputs = (schema_of(function) or FunctionSchema()).inputs
    return {
        name: _converted(value, inputs[name], name) if name in inputs else value for name, value in arguments.items()
    }


def is_schema_decorated(func: _Function) -> bool:
    """Whether a function has one of the decorators."""
    return schema_of(func) is not None


def get_input_schema(func: _Function) -> dict[str, Any]:
    """Return the Swagger schema of the arguments: an object with `properties`, `required` and `example`."""
    schema = schema_of(func)
    if schema is None or not schema.inputs:
        return {"type": "object"}
    properties = {name: parameter.kind.input_to_swagger() for name, parameter in schema.inputs.items()}
    examples = {name: described.pop("example") for name, described in properties.items()}
    defaults = inspect.signature(func).parameters
    required = [
        name
        for name, parameter in schema.inputs.items()
        if not parameter.optional and defaults[name].default is inspect.Parameter.empty
    ]
    described = {"type": "object", "properties": properties, "example": examples}
    return {**described, "required": required} if required else described


def get_output_schema(func: _Function) -> dict[str, Any]:
    """Return the Swagger schema of the result."""
    schema = schema_of(func)
    return {"type": "object"} if schema is None or schema.output is None else schema.output.input_to_swagger()


def get_supported_versions(func: _Function) -> list[str]:
    """Return the versions of Swagger that can say all of it."""
    schema = schema_of(func) or FunctionSchema()
    kinds = [parameter.kind for parameter in schema.inputs.values()]
    kinds += [schema.output] if schema.output is not None else []
    each = [set(kind.supported_versions()) for kind in kinds]
    return sorted(set(ALL_VERSIONS).intersection(*each))


def _own_schema(decorated: _Function, function: _Function) -> FunctionSchema:
    """Give `decorated` a schema of its own, with what the decorators below it said."""
    below = schema_of(function) or FunctionSchema()
    schema = FunctionSchema(dict(below.inputs), below.output)
    setattr(decorated, _ATTRIBUTE, schema)
    return schema


def _converted(value: Any, parameter: Parameter, name: str) -> Any:
    if not parameter.converts or (parameter.optional and not _is_given(value)):
        return value
    return convert(value, parameter.kind, name)


def _is_given(value: Any) -> bool:
    # An array has no truth value, and it is given.
    return not (value is None or (isinstance(value, str | list | dict | tuple | int | float) and not value))


def _check_kind(kind: object) -> None:
    if not isinstance(kind, AbstractParameterType):
        raise TypeError(f"a schema needs a parameter type, such as NumpyParameterType(sample); got {type(kind)}")


__all__ = [
    "SchemaMismatch", "convert_arguments", "get_input_schema", "get_output_schema", "get_supported_versions",
    "input_schema", "is_schema_decorated", "output_schema", "schema_of",
]  # fmt: skip
