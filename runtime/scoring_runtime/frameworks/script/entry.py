"""What a script's `run` wants to be given: looked at once, when the script is loaded."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

from scoring_runtime.azureml_shims import RAWHTTP_MARK, schemas
from scoring_runtime.errors import ModelLoadFailed
from scoring_runtime.tensors import Signature, TensorSpec

HEADERS = "request_headers"
# Azure's own packages say so of a whole process.
_RAWHTTP_MODULES = (
    "azureml.contrib.services.aml_request",
    "azureml_inference_server_http.api.aml_request",
)
_Run = Callable[..., Any]


class Style(Enum):
    """The three ways to write a `run`."""

    TEXT = "text"
    """run(data): the body as a string."""
    SCHEMA = "schema"
    """@input_schema: the fields of a JSON body as arguments."""
    RAW = "raw"
    """@rawhttp: the request."""


@dataclass(frozen=True)
class Entry:
    """The functions of a script, and how to call them."""

    run: _Run
    style: Style
    parameters: Mapping[str, Any]
    """The names of run's arguments and their defaults (inspect.Parameter.empty for none), without request_headers."""
    wants_headers: bool
    run_batch: _Run | None = None
    """Takes a list of what run takes, gives a list as long."""

    @classmethod
    def of(cls, module: ModuleType, script: str) -> Entry:
        """Look at the functions of an imported script. Raises ModelLoadFailed where they cannot work."""
        _function(module, "init", script)
        run_batch = _function(module, "run_batch", script) if hasattr(module, "run_batch") else None
        run = _function(module, "run", script)
        given = inspect.signature(run).parameters
        if any(parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
               for parameter in given.values()):  # fmt: skip
            raise _unusable(script, "run() has *args, **kwargs or positional-only arguments; give each a plain name")
        parameters = {name: parameter.default for name, parameter in given.items() if name != HEADERS}
        style = _style(run, script)
        _check_parameters(parameters, style, script)
        entry = cls(run, style, parameters, HEADERS in given, run_batch)
        if run_batch is not None:
            entry._check_batch(script)
        return entry

    @property
    def first(self) -> str:
        """The name of run's first argument."""
        return next(iter(self.parameters))

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return run's arguments out of JSON values by name, in the types of their schemas.

        Raises KeyError with the name of a missing argument, and SchemaMismatch.
        """
        found = {}
        for name, default in self.parameters.items():
            value = values.get(name, default)
            if value is inspect.Parameter.empty:
                if not self._is_optional(name):
                    raise KeyError(name)
                continue
            found[name] = value
        return schemas.convert_arguments(self.run, found)

    def sample(self) -> bytes | None:
        """Return the body of a request made of the schema's samples, or None where they are not complete."""
        example = self.input_schema().get("example") if self.style is Style.SCHEMA else None
        described = self.input_schema().get("properties", {}) if example else {}
        complete = all(
            described.get(name) or default is not inspect.Parameter.empty for name, default in self.parameters.items()
        )
        if not example or not complete:
            return None
        return json.dumps({name: value for name, value in example.items() if described.get(name)}).encode()

    def input_schema(self) -> dict[str, Any]:
        """Return the Swagger schema of the arguments."""
        return dict(_schema_functions(self.run).get_input_schema(self.run))

    def output_schema(self) -> dict[str, Any]:
        """Return the Swagger schema of the result."""
        return dict(_schema_functions(self.run).get_output_schema(self.run))

    def swagger_versions(self) -> frozenset[str]:
        """Return the versions of Swagger that can describe the script: 2.0, 3.0, 3.1, or none without a schema."""
        if self.style is not Style.SCHEMA:
            return frozenset()
        return frozenset(_schema_functions(self.run).get_supported_versions(self.run))

    def signature(self) -> Signature:
        """Return the arguments and the result as tensors, as far as the schema says what they are."""
        if self.style is not Style.SCHEMA:
            return Signature()
        described = self.input_schema().get("properties", {})
        inputs = tuple(_tensor(name, described.get(name, {})) for name in self.parameters)
        output = self.output_schema()
        return Signature(inputs, (_tensor("output", output),) if len(output) > 1 else ())

    def _is_optional(self, name: str) -> bool:
        schema = schemas.schema_of(self.run)
        return schema is not None and name in schema.inputs and schema.inputs[name].optional

    def _check_batch(self, script: str) -> None:
        if self.style is Style.RAW or self.wants_headers or len(self.parameters) != 1:
            raise _unusable(
                script,
                "run_batch(items) needs a run() with one argument, without @rawhttp and request_headers; "
                "remove run_batch, or give run() one argument",
            )


def _function(module: ModuleType, name: str, script: str) -> _Run:
    found = getattr(module, name, None)
    if not callable(found):
        what = f"no function {name}()" if found is None else f"a {name} that is not a function"
        raise _unusable(script, f"the script has {what}; an entry script defines init() and run(data)")
    return found  # type: ignore[no-any-return]


def _style(run: _Run, script: str) -> Style:
    raw = getattr(run, RAWHTTP_MARK, False) or any(
        getattr(sys.modules.get(name), "_rawHttpRequested", False) for name in _RAWHTTP_MODULES
    )
    schema = _schema_functions(run).is_schema_decorated(run)
    if raw and schema:
        raise _unusable(script, "run() has both @rawhttp and a schema decorator; use one of them")
    return Style.RAW if raw else Style.SCHEMA if schema else Style.TEXT


def _check_parameters(parameters: Mapping[str, Any], style: Style, script: str) -> None:
    if not parameters:
        raise _unusable(script, "run() takes no argument for what is sent; write run(data)")
    required = [name for name, default in parameters.items() if default is inspect.Parameter.empty]
    if style is not Style.SCHEMA and len(required) > 1:
        raise _unusable(
            script,
            f"run() needs the arguments {', '.join(required)}, and without @input_schema it gets one; "
            "decorate it with @input_schema, or take one argument",
        )


def _schema_functions(run: _Run) -> Any:
    """Return the module whose decorators `run` has: the stand-in, or the package inference-schema itself."""
    installed = sys.modules.get("inference_schema.schema_util")
    return schemas if installed is None or schemas.schema_of(run) is not None else installed


def _tensor(name: str, schema: Mapping[str, Any]) -> TensorSpec:
    """Return the tensor for a Swagger schema; an array's axes are of any length, as Swagger does not say it."""
    shape: tuple[int, ...] = ()
    while schema.get("type") == "array":
        shape, schema = (*shape, -1), schema.get("items", {})
    kinds = {"boolean": "bool", "string": "object", "integer": "int64", "number": "float64"}
    dtype = kinds.get(str(schema.get("type", "")), "")
    form = str(schema.get("format", ""))
    if dtype == "int64" and form.startswith(("int", "uint")):
        dtype = form
    return TensorSpec(name, "float32" if form == "float" else dtype, shape or (1,))


def _unusable(script: str, said: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"{script}: {said}")
