"""The file MLmodel: which library a model was saved with, what it takes and gives, and what it needs.

Read without MLflow itself, which takes seconds to import and is not needed for models that are loaded by a framework
of this runtime. Its form: MLflow's documentation, "MLflow Models: MLmodel configuration" and "Model Signature".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from packaging.requirements import InvalidRequirement, Requirement

from scoring_runtime.errors import ModelInvalid, ModelNotFound
from scoring_runtime.frameworks.causes import one_line
from scoring_runtime.frameworks.modelfile import find_model_folder
from scoring_runtime.tensors import Array, Tensors, TensorSpec

FILE = "MLmodel"
REQUIREMENTS_FILE = "requirements.txt"
# MLflow's column types and NumPy's dtypes. Those of no fixed form (datetime, object, array, map) are left to MLflow.
_COLUMNS = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "binary": "object",
}
_UNNAMED = "input-0"


@dataclass(frozen=True)
class Schema:
    """What a signature says of one side of a model."""

    specs: tuple[TensorSpec, ...]
    """One for each column or tensor; columns without names are one matrix."""
    columns: bool
    """Whether MLflow gives a data frame of these to the model, and not arrays."""
    optional: frozenset[str] = frozenset()
    """The columns that may be left out."""
    plain: bool = True
    """Whether every type is one of numbers, booleans and text."""


@dataclass(frozen=True)
class Description:
    """The content of an MLmodel file."""

    folder: Path
    flavors: Mapping[str, Any]
    inputs: Schema | None
    outputs: Schema | None
    example_file: str
    """The file with an example of the input, empty where there is none."""

    @property
    def function(self) -> Mapping[str, Any]:
        """What MLflow's generic interface (pyfunc) needs to load the model."""
        found = self.flavors.get("python_function")
        return found if isinstance(found, dict) else {}

    @property
    def loader(self) -> str:
        """The module that loads it for the generic interface, such as mlflow.sklearn."""
        return str(self.function.get("loader_module", ""))

    def file(self, name: object) -> Path:
        """Return the path of a file that MLmodel names. Raises ModelInvalid for one outside the model's folder."""
        path = (self.folder / str(name)).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise ModelInvalid(f"{FILE} names the file {name}, which is outside the model's folder")
        return path


def read_description(path: Path) -> Description:
    """Read the MLmodel file in `path` or its only folder. Raises ModelNotFound or ModelInvalid."""
    folder = find_model_folder(path, FILE, "MLflow model")
    if folder is None:
        raise ModelNotFound(
            f"there is no {FILE} in {path}; copy the whole folder that MLflow wrote, or name the framework of the file "
            "itself"
        )
    try:
        content = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ModelInvalid(f"{FILE} cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict) or not isinstance(content.get("flavors"), dict):
        raise ModelInvalid(f"{FILE} has no flavors, so it is not the file that MLflow writes beside a model")
    if not isinstance(content["flavors"].get("python_function"), dict):
        flavors = ", ".join(map(str, content["flavors"])) or "none"
        raise ModelInvalid(f"{FILE} has the flavors {flavors} and not python_function, which says how to score with it")
    signature = content.get("signature") or {}
    example = content.get("saved_input_example_info") or {}
    try:
        inputs, outputs = (_schema(signature.get(side)) for side in ("inputs", "outputs"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelInvalid(f"the signature in {FILE} cannot be read: {type(error).__name__}: {error}") from None
    return Description(folder, content["flavors"], inputs, outputs, str(example.get("artifact_path") or ""))


def read_example(description: Description) -> Tensors | None:
    """Return the example of the input as a client would send it; None where there is none of a form that has rows."""
    if not description.example_file:
        return None
    file = description.file(description.example_file)
    try:
        return _example(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _example(content: Any) -> Tensors | None:
    if isinstance(content, dict) and "data" in content:
        rows, names = content["data"], content.get("columns")
        if names and all(isinstance(name, str) for name in names):
            columns = tuple(_array(column) for column in zip(*rows, strict=True))
            return Tensors(columns, tuple(names)) if columns else None
        content = rows
    if isinstance(content, dict) and set(content) <= {"inputs", "instances"}:
        content = next(iter(content.values()), None)
    if isinstance(content, dict) and content and all(isinstance(cells, list) for cells in content.values()):
        return Tensors(tuple(map(_array, content.values())), tuple(content))
    return Tensors((_array(content),)) if isinstance(content, list) and content else None


def differences(description: Description) -> list[str]:
    """Return for each package that the model wants in another version than the image has: "name wanted, found"."""
    file = description.folder / REQUIREMENTS_FILE
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    found = [said for line in lines if (said := _difference(line.partition("#")[0].strip()))]
    saved_with = str(description.function.get("python_version") or "")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if saved_with and saved_with.split(".")[:2] != here.split("."):
        found.append(f"Python {saved_with} (here {here})")
    return found


def _difference(line: str) -> str | None:
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        return None
    # What reads the model is MLflow's generic interface, which keeps reading what older versions wrote.
    if wanted.name == "mlflow" or (wanted.marker is not None and not wanted.marker.evaluate()):
        return None
    try:
        installed = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name}{wanted.specifier} (not here)"
    return None if wanted.specifier.contains(installed, True) else f"{wanted.name}{wanted.specifier} (here {installed})"


def _schema(written: Any) -> Schema | None:
    if not written:
        return None
    entries: list[dict[str, Any]] = json.loads(written) if isinstance(written, str) else written
    if not entries:
        return None
    if entries[0]["type"] == "tensor":
        return Schema(tuple(_tensor(entry, at) for at, entry in enumerate(entries)), columns=False)
    plain = all(entry["type"] in _COLUMNS for entry in entries)
    if any("name" not in entry for entry in entries):
        kinds = {_COLUMNS.get(str(entry["type"]), "") for entry in entries}
        dtype = kinds.pop() if len(kinds) == 1 else ""
        return Schema((TensorSpec(_UNNAMED, dtype, (-1, len(entries))),), columns=True, plain=plain)
    specs = (TensorSpec(str(entry["name"]), _COLUMNS.get(str(entry["type"]), ""), (-1,)) for entry in entries)
    optional = (str(entry["name"]) for entry in entries if entry.get("required") is False or entry.get("optional"))
    return Schema(tuple(specs), True, frozenset(optional), plain)


def _tensor(entry: Mapping[str, Any], at: int) -> TensorSpec:
    described = entry["tensor-spec"]
    dtype = str(described["dtype"])
    shape = tuple(int(axis) for axis in described["shape"])
    return TensorSpec(str(entry.get("name") or f"input-{at}"), _numpys(dtype), (-1, *shape[1:]))


def _numpys(name: str) -> str:
    kind = np.dtype(name)
    return kind.name if kind.kind in "fiub" else "object"


def _array(cells: Iterable[Any]) -> Array:
    """Return an example's values as a client's would be read: numbers as numbers, all else as objects."""
    values = list(cells)
    array = np.array(values) if not _has_other(values) else None
    if array is not None and array.dtype.kind in "fiub":
        return array
    return np.array(values, dtype=object)


def _has_other(values: Any) -> bool:
    if isinstance(values, list):
        return any(map(_has_other, values))
    return not isinstance(values, int | float)
