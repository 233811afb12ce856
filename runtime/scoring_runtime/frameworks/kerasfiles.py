"""What a .keras file says of itself, read before Keras sees it: which classes it names, and who saved it.

A .keras file is a zip archive with config.json, the description of the layers. Keras imports the modules that it
names, so only its own are let through.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scoring_runtime.errors import ModelInvalid

_CONFIG, _METADATA = "config.json", "metadata.json"
# A larger description than that is none; it is held in memory as a whole.
_MAX_BYTES = 256 * 1024**2
_LAMBDAS = frozenset({"Lambda", "__lambda__"})
_SAFE_WAY = (
    "call `model.export(folder)` where it was trained and serve that with `framework: tensorflow`, or load it in a "
    "script (`framework: script`)"
)


def check_classes(file: Path) -> None:
    """Raise ModelInvalid for a file that is no .keras archive, or that names Python code or classes not of Keras."""
    parts = list(_described(_json(file, _CONFIG)))
    lambdas = [part for part in parts if _is_code(part)]
    if lambdas:
        names = sorted({_name(part) for part in lambdas} - {""})
        where = f"the Lambda layer {', '.join(names)}" if names else "a lambda"
        raise ModelInvalid(
            f"{file.name} has Python code in {where}, which is never run: use a layer of Keras (keras.layers, or "
            f"keras.ops in the functional API) in its place, or {_SAFE_WAY}"
        )
    foreign = sorted({_called(part) for part in parts if not _is_keras(part)})
    if foreign:
        raise ModelInvalid(
            f"{file.name} needs {', '.join(foreign)}, which {'is' if len(foreign) == 1 else 'are'} not in Keras and "
            f"not in the file; {_SAFE_WAY}"
        )


def saved_with(file: Path) -> str:
    """Return the version of Keras that the file names, empty where it names none."""
    try:
        return str(_json(file, _METADATA).get("keras_version", ""))
    except ModelInvalid:
        return ""


def _json(file: Path, member: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(member).file_size > _MAX_BYTES:
                raise ModelInvalid(f"{member} in {file.name} is larger than any description of a model")
            content = json.loads(archive.read(member))
    except zipfile.BadZipFile:
        raise ModelInvalid(f"{file.name} is not a .keras file, or it is damaged; save it with model.save()") from None
    except KeyError:
        raise ModelInvalid(f"{file.name} has no {member}, so it is not a .keras file of Keras 3") from None
    except (ValueError, RecursionError, NotImplementedError, RuntimeError) as error:
        raise ModelInvalid(f"{member} in {file.name} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ModelInvalid(f"{member} in {file.name} is damaged: it must be an object")
    return content


def _described(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the description of everything that the configuration would make, inner ones too."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "class_name" in part or _is_code(part):
                yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _is_code(part: dict[str, Any]) -> bool:
    """Whether this is Python code: bytecode, defaults and closure; as an activation it has no class beside it."""
    return str(part.get("class_name")) in _LAMBDAS or part.keys() == {"value"}


def _is_keras(part: dict[str, Any]) -> bool:
    """Whether Keras itself has the class or function: others have a module of their own, or were registered."""
    module = part.get("module")
    if module is None:
        return not part.get("registered_name")
    return isinstance(module, str) and module.partition(".")[0] == "keras"


def _called(part: dict[str, Any]) -> str:
    """Return the name of a class or function: a function is described by its name alone."""
    config = part.get("config")
    return str(config if isinstance(config, str) else part.get("registered_name") or part["class_name"])


def _name(part: dict[str, Any]) -> str:
    config = part.get("config")
    return str(config.get("name", "")) if isinstance(config, dict) else ""
