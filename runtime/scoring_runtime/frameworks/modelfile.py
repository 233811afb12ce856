"""Finding the one model file in a folder, and telling early that a file is no model at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scoring_runtime.errors import ModelInvalid, ModelNotFound, ModelTooLarge

PREFERRED_STEM = "model"
SAMPLE_FILE = "sample-request.json"
"""The request that lies beside a model to try it out; never the model itself."""
_LISTED = 10
_HEAD_BYTES = 512
_LFS = b"version https://git-lfs.github.com/spec/"


def find_model_file(path: Path, suffixes: Sequence[str]) -> Path:
    """Return the model file: `path` itself, or the one in that folder; model.* wins over other names.

    Raises ModelNotFound where there is none or where it is not clear which one is meant.
    """
    if path.is_file():
        if path.suffix not in suffixes:
            raise ModelNotFound(f"{path} is not a model of this framework; it reads {_either(suffixes)}")
        return path
    if not path.is_dir():
        raise ModelNotFound(f"{path} does not exist")
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    candidates = [file for file in files if file.suffix in suffixes and file.name != SAMPLE_FILE]
    preferred = [file for file in candidates if file.stem == PREFERRED_STEM]
    found = preferred or candidates
    if len(found) == 1:
        return found[0]
    if not found:
        holds = _names(sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))) or "nothing"
        raise ModelNotFound(f"no model file ({_either(suffixes)}) in {path}; it holds {holds}")
    raise ModelNotFound(
        f"{len(found)} files in {path} could be the model: {_names(found)}; "
        f"name one of them {PREFERRED_STEM}{found[0].suffix}, or point the model's address at one file"
    )


def check_content(file: Path, *, may_be_json: bool = False) -> None:
    """Raise ModelInvalid for what often lies where a model should: nothing, a Git LFS pointer, a web page, JSON."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise ModelInvalid(f"{file.name} is empty; was its upload cut off?")
    if head.startswith(_LFS):
        raise ModelInvalid(
            f"{file.name} is a Git LFS pointer, not the model; fetch the file itself with `git lfs pull`"
        )
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ModelInvalid(f"{file.name} is a web page (HTML or XML), not a model; a login or error page was saved")
    if start.startswith((b"{", b"[")) and _is_text(head) and not may_be_json:
        raise ModelInvalid(f"{file.name} is JSON text, not a model; an error answer may have been saved")


def find_model_folder(path: Path, marker: str, kind: str) -> Path | None:
    """Return the folder that has the file `marker`: `path`, or the only one below it; None where there is none.

    `kind` says of what it is the folder, such as SavedModel. Raises ModelNotFound where `path` is no folder, or where
    it is not clear which one is meant.
    """
    if path.is_file() and path.name == marker:
        return path.parent
    if not path.is_dir():
        raise ModelNotFound(f"{path} is not the folder of a {kind}" if path.exists() else f"{path} does not exist")
    if (path / marker).is_file():
        return path
    found = sorted(folder for folder in path.iterdir() if (folder / marker).is_file())
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise ModelNotFound(f"{path} has the {kind}s {names}; point the model's address at one of them")
    return found[0] if found else None


def read_json_object(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file beside a model. Raises ModelInvalid."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise ModelInvalid(f"{file.name} must be a JSON object")
    return content


def read_json(file: Path) -> Any:
    """Return the content of a JSON file beside a model. Raises ModelInvalid."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelInvalid(f"{file.name} cannot be read: {error}") from None


def check_memory(file: Path, limit_bytes: int | None, pattern: str = "*") -> None:
    """Raise ModelTooLarge when the file, or what matches in that folder, is alone larger than the memory limit."""
    files = file.rglob(pattern) if file.is_dir() else (file,)
    size = sum(one.stat().st_size for one in files if one.is_file())
    if limit_bytes is not None and size >= limit_bytes:
        raise ModelTooLarge(
            f"{file.name} has {_mebibytes(size)} and the container may use {_mebibytes(limit_bytes)} of memory; "
            f"raise resources.limits.memory, to about twice the size of the file"
        )


def looks_like_text(file: Path) -> bool:
    """Whether the file starts with readable text; no binary model does."""
    with file.open("rb") as stream:
        return _is_text(stream.read(_HEAD_BYTES))


def _is_text(head: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in head)


def _either(suffixes: Sequence[str]) -> str:
    return ", ".join(suffixes[:-1]) + f" or {suffixes[-1]}" if len(suffixes) > 1 else suffixes[0]


def _names(files: Sequence[Path]) -> str:
    names = [file.name for file in files[:_LISTED]]
    return ", ".join(names) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:,.0f} MiB"
