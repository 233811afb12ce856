"""XGBoost's model files before and after XGBoost itself looks at them: whole, of which version, and what went wrong."""

from __future__ import annotations

import re
from pathlib import Path

import xgboost as xgb

from scoring_runtime.errors import ModelIncompatible, ModelInvalid, ModelTooLarge, StartupError

_EDGE_BYTES = 4096
_UBJSON = b"{L"
_OLD_BINARY = (b"binf", b"bs64")
# The version is the last that XGBoost writes, three whole numbers.
_JSON_VERSION = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]')
_UBJSON_VERSION = re.compile(rb"version\[#L\0{7}\x03i(.)i(.)i(.)\}\Z", re.DOTALL)


def check_whole(file: Path) -> None:
    """Raise ModelInvalid for what was cut off, before XGBoost sees it.

    It takes whatever bytes come next for the length of what is missing, and may ask for more memory than there is.
    """
    head, tail = _edges(file)
    if head.startswith(_UBJSON) and _UBJSON_VERSION.search(tail) is None:
        raise ModelInvalid(f"{file.name} is cut off: an XGBoost model in UBJSON ends with its version; copy it again")
    if head.startswith(_OLD_BINARY):
        raise _old_binary(file)


def version_notes(file: Path) -> tuple[str, ...]:
    """Return a sentence if a newer XGBoost than the installed one wrote the file; it reads all older ones."""
    saved_with = _saved_with(file)
    if saved_with is None or saved_with[:2] <= _numbers(xgb.__version__)[:2]:
        return ()
    return (
        f"{file.name} was saved with XGBoost {_dotted(saved_with)} and is read by {xgb.__version__}; "
        "its results may differ: use an image with its version",
    )


def explained(file: Path, error: Exception) -> StartupError:
    """Return the StartupError for what loading raised, by cause."""
    said = str(error)
    if isinstance(error, MemoryError) or "bad_alloc" in said or "out of memory" in said:
        return ModelTooLarge(
            f"{file.name} does not fit the memory, or it is damaged; raise resources.limits.memory, or copy it again"
        )
    if "binary format" in said:
        return _old_binary(file)
    saved_with = _saved_with(file)
    if saved_with is not None and saved_with > _numbers(xgb.__version__):
        return ModelIncompatible(
            f"{file.name} was saved with XGBoost {_dotted(saved_with)} and this image has {xgb.__version__}, which "
            f"cannot read it ({cause_of(error)}); use an image with XGBoost {_dotted(saved_with)}"
        )
    return ModelInvalid(f"{file.name} is not an XGBoost model, or it is damaged: {cause_of(error)}")


def cause_of(error: Exception) -> str:
    """Return what XGBoost's error says, in one line: without the time, the places in its sources, and the stack."""
    text = str(error).strip().partition("Stack trace:")[0]
    text = re.sub(r"^\[[\d:]+\]\s+\S+?:\d+:\s*", "", text)
    return " ".join(text.split())[:300]


def _old_binary(file: Path) -> ModelIncompatible:
    return ModelIncompatible(
        f"{file.name} is in XGBoost's old binary format, which XGBoost {xgb.__version__} does not read; load it with "
        "XGBoost 3.0 or older and save it again with save_model('model.ubj')"
    )


def _saved_with(file: Path) -> tuple[int, ...] | None:
    """Return the version that the file names, or None where it names none at its end or its start."""
    for part in reversed(_edges(file)):
        if found := _JSON_VERSION.search(part):
            return tuple(int(number) for number in found.groups())
        if found := _UBJSON_VERSION.search(part):
            return tuple(number[0] for number in found.groups())
    return None


def _edges(file: Path) -> tuple[bytes, bytes]:
    with file.open("rb") as stream:
        head = stream.read(_EDGE_BYTES)
        stream.seek(max(0, file.stat().st_size - _EDGE_BYTES))
        return head, stream.read()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
