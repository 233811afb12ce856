"""`model-repository.json`: which models a folder holds, and what is to be known of each.

The name is one that no model file has. It is JSON, as all that may lie beside a model here is, and read strictly: what
is not known is refused, so that no typing mistake passes silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from scoring_runtime.errors import ModelInvalid, ModelNotFound
from scoring_runtime.settings import Settings

MANIFEST = "model-repository.json"
MAX_MODELS = 100
_SCRIPT = "script"
# Where an entry says what a setting is for its model.
_PLACES = {
    "model_name": "name",
    "model_version": "version",
    "framework": "framework",
    "device": "device",
    "precision": "precision",
    "trusted_types": "trusted_types",
    "batch_max_size": "batching.max_size",
    "batch_max_delay_milliseconds": "batching.max_delay_milliseconds",
}


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", alias_generator=to_camel, protected_namespaces=()
    )


class _Batching(_Strict):
    max_size: int | None = None
    max_delay_milliseconds: int | None = None


class _Entry(_Strict):
    name: str
    path: str = ""
    framework: str | None = None
    version: str | None = None
    device: str | None = None
    precision: str | None = None
    batching: _Batching = _Batching()
    trusted_types: tuple[str, ...] | None = None


class _Manifest(_Strict):
    models: tuple[_Entry, ...] = Field(min_length=1, max_length=MAX_MODELS)


def read_manifest(settings: Settings) -> tuple[Settings, ...]:
    """Return the settings of each model that the folder's manifest names, in its order; none without a manifest.

    What an entry does not say is as the process' settings have it. An entry script is one model, whatever lies beside
    it. Raises ModelInvalid with the place in the manifest, and ModelNotFound for a model that is not there.
    """
    file = settings.model_path / MANIFEST
    if settings.framework == _SCRIPT or not file.is_file():
        return ()
    try:
        manifest = _Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise _invalid("; ".join(_sentence(problem) for problem in error.errors())) from None
    models = tuple(_settings_of(entry, f"models[{number}]", settings) for number, entry in enumerate(manifest.models))
    _check_names(models)
    return models


def _settings_of(entry: _Entry, place: str, settings: Settings) -> Settings:
    """Return the process' settings with what one entry says instead."""
    if entry.framework == _SCRIPT:
        raise _invalid(
            f"{place}: an entry script cannot be one of several models; a script can load several models itself"
        )
    said = {field: attrgetter(inside)(entry) for field, inside in _PLACES.items()}
    given = {field: value for field, value in said.items() if value is not None}
    try:
        # Again through the checks of the settings, which know what each may be.
        checked = Settings.model_validate({**settings.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors()[0]
        inside = _PLACES[str(problem["loc"][0])].split(".")
        raise _invalid(f"{place}.{'.'.join(map(to_camel, inside))}: {_said(problem)}") from None
    return checked.model_copy(update={"model_path": _inside(settings.model_path, entry, place)})


def _inside(folder: Path, entry: _Entry, place: str) -> Path:
    """Return where a model lies: `path` in the folder, by default the folder of its name."""
    path = entry.path or entry.name
    try:
        found = (folder / path).resolve()
        exists = found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # Too long, a link to itself, a character that none may have.
        said = error.strerror if isinstance(error, OSError) else error
        raise _invalid(f"{place}.path: {path[:100]!r} cannot be a path: {said}") from None
    if not found.is_relative_to(folder.resolve()) or found == folder.resolve():
        raise _invalid(f"{place}.path: {path} leads out of the model's folder; give a path inside it, such as iris/")
    if not exists:
        raise ModelNotFound(f"{MANIFEST}: {place}.path: there is no {path} beside the manifest")
    return folder / path


def _check_names(models: Sequence[Settings]) -> None:
    names = [model.model_name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _invalid(f"two models are called {twice[0]}; each needs a name of its own")


def _sentence(problem: Any) -> str:
    place = ""
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return f"{place}: {_said(problem)}" if place else _said(problem)


def _said(problem: Any) -> str:
    said = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return "there is no such field; see docs/several-models.md"
    return said[0].lower() + said[1:]


def _invalid(said: str) -> ModelInvalid:
    return ModelInvalid(f"{MANIFEST}: {said}")
