"""`inference_schema.parameter_types`: what an argument of `run` looks like, told by a sample.

A parameter type does two things with its sample: it describes it in the words of Swagger, and it turns what JSON has
into a value of the sample's type.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

ALL_VERSIONS = ("2.0", "3.0", "3.1")
_LATER_VERSIONS = ("3.0", "3.1")
_DATE_FORMAT = "%Y-%m-%d"
_DATETIME_FORMAT = "%Y-%m-%d %H:%M:%S.%f %z"
_TIME_FORMAT = "%H:%M:%S.%f %z"


class SchemaMismatch(ValueError):  # noqa: N818 - named for what went wrong
    """An argument is not what its schema says. The message says what was expected; it may quote the input."""


class AbstractParameterType(ABC):
    """The base of all parameter types, and of those that scripts define for themselves."""

    def __init__(self, sample_input: Any) -> None:
        self.sample_input = sample_input
        self.sample_data_type = type(sample_input)

    @abstractmethod
    def deserialize_input(self, input_data: Any) -> Any:
        """Return the value for what came as JSON. Raises ValueError when it is something else."""

    @abstractmethod
    def input_to_swagger(self) -> dict[str, Any]:
        """Return the Swagger schema of the sample, with the sample itself as its `example`."""

    def supported_versions(self) -> list[str]:
        """Return the versions of Swagger that can say it: version 2 has no lists of mixed types."""
        uniform = _has_uniform_lists(self.input_to_swagger().get("example"))
        return list(ALL_VERSIONS if uniform else _LATER_VERSIONS)


class StandardPythonParameterType(AbstractParameterType):
    """Numbers, texts, times, bytes (base64 in JSON), and dicts and lists of them or of other parameter types."""

    def __init__(self, sample_input: Any) -> None:
        super().__init__(sample_input)
        self.nested: dict[str, AbstractParameterType] = {}
        self.nested_item: AbstractParameterType | None = None
        if isinstance(sample_input, dict):
            self.nested = {key: kind for key, kind in sample_input.items() if isinstance(kind, AbstractParameterType)}
        elif isinstance(sample_input, list | tuple):
            kinds = (kind for kind in sample_input if isinstance(kind, AbstractParameterType))
            self.nested_item = next(kinds, None)

    def deserialize_input(self, input_data: Any) -> Any:
        """See the base class. A whole number is good enough for a float."""
        wanted = self.sample_data_type
        if wanted is dict:
            return self._dict(input_data)
        if wanted in (list, tuple):
            return self._list(input_data)
        if isinstance(input_data, wanted) or (wanted is float and type(input_data) is int):
            return input_data
        if wanted in _READERS and isinstance(input_data, str):
            try:
                return _READERS[wanted](input_data)
            except ValueError:
                raise SchemaMismatch(f"{wanted.__name__} expected, in the form {self._example()!r}") from None
        raise SchemaMismatch(f"{_name(wanted)} expected, got {_name(type(input_data))}")

    def input_to_swagger(self) -> dict[str, Any]:
        """See the base class."""
        if self.sample_input is None:
            raise ValueError("the sample of a StandardPythonParameterType cannot be None")
        schema = swagger_of(self.sample_input)
        try:
            json.dumps(schema)
        except TypeError as error:
            raise TypeError(f"the sample of a StandardPythonParameterType cannot be written as JSON: {error}") from None
        return schema

    def _dict(self, given: Any) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise SchemaMismatch(f"an object expected, got {_name(type(given))}")
        return {
            key: convert(value, self.nested[key], key) if key in self.nested else value for key, value in given.items()
        }

    def _list(self, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            raise SchemaMismatch(f"a list expected, got {_name(type(given))}")
        if self.nested_item is None:
            return given
        return [convert(value, self.nested_item, f"item {number}") for number, value in enumerate(given)]

    def _example(self) -> Any:
        return swagger_of(self.sample_input)["example"]


def convert(value: Any, kind: AbstractParameterType, name: str) -> Any:
    """Return `value` as the type that `kind` says; one that is of that type already stays as it is.

    Raises SchemaMismatch with `name` in front.
    """
    nests = isinstance(kind, StandardPythonParameterType) and kind.sample_data_type in (dict, list, tuple)
    if not nests and isinstance(value, kind.sample_data_type):
        return value
    try:
        return kind.deserialize_input(value)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"{name}: {error}") from None
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise SchemaMismatch(f"{name}: {type(error).__name__}: {error}") from error


def swagger_of(sample: Any) -> dict[str, Any]:
    """Return the Swagger schema of a sample, with its `example`."""
    if isinstance(sample, AbstractParameterType):
        return sample.input_to_swagger()
    for kind, describe in _WRITERS.items():
        # Exactly that type: a bool is an int too, and a datetime a date.
        if type(sample) is kind:
            return dict(describe(sample))
    if isinstance(sample, list | tuple | range):
        return swagger_of_list(sample)
    if isinstance(sample, dict):
        return swagger_of_dict(sample)
    return {"type": "object", "example": sample}


def swagger_of_list(samples: Sequence[Any]) -> dict[str, Any]:
    """Return the schema of a list, whose items are all like the first."""
    schemas = [swagger_of(sample) for sample in samples]
    examples = [schema.pop("example") for schema in schemas]
    return {"type": "array", "items": schemas[0] if schemas else {"type": "object"}, "example": examples}


def swagger_of_dict(samples: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the schema of an object that has all of these fields."""
    schemas = {str(key): swagger_of(sample) for key, sample in samples.items()}
    examples = {key: schema.pop("example") for key, schema in schemas.items()}
    return {"type": "object", "required": list(schemas), "properties": schemas, "example": examples}


def _in_utc(moment: Any) -> Any:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


_WRITERS: dict[type, Any] = {
    bool: lambda sample: {"type": "boolean", "example": sample},
    int: lambda sample: {"type": "integer", "format": "int64", "example": sample},
    float: lambda sample: {"type": "number", "format": "double", "example": sample},
    str: lambda sample: {"type": "string", "example": sample},
    bytes: lambda sample: {"type": "string", "format": "byte", "example": _base64(sample)},
    bytearray: lambda sample: {"type": "string", "format": "byte", "example": _base64(sample)},
    date: lambda sample: {"type": "string", "format": "date", "example": sample.strftime(_DATE_FORMAT)},
    datetime: lambda sample: {
        "type": "string", "format": "date-time", "example": _in_utc(sample).strftime(_DATETIME_FORMAT)
    },
    time: lambda sample: {"type": "string", "format": "time", "example": _in_utc(sample).strftime(_TIME_FORMAT)},
}  # fmt: skip


def _read_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _iso(text: str) -> str:
    # The form of the examples has a space in front of the offset, which ISO 8601 has not.
    return re.sub(r" +(?=[+-]\d\d:?\d\d$)", "", text.strip())


_READERS: dict[type, Any] = {
    bytes: _read_base64,
    bytearray: lambda text: bytearray(_read_base64(text)),
    date: lambda text: date.fromisoformat(text.strip()),
    datetime: lambda text: datetime.fromisoformat(_iso(text)),
    time: lambda text: time.fromisoformat(_iso(text)),
}


def _has_uniform_lists(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_has_uniform_lists, value.values()))
    if isinstance(value, list):
        return len(set(map(type, value))) <= 1 and all(map(_has_uniform_lists, value))
    return True


def _name(kind: type) -> str:
    """Return what JSON calls a type."""
    names = {dict: "an object", list: "a list", str: "a string", int: "a whole number", float: "a number"}
    return {**names, bool: "a boolean", type(None): "null"}.get(kind, kind.__name__)
