"""Putting a complete model in its place, so that it is there as a whole or not at all.

The destination is usually a mounted volume, which cannot itself be renamed; so the new files are prepared in a hidden
folder inside it and moved by renames. A hidden file records what was placed: whose restart need not fetch it again,
and which entries an interrupted or an older fetch left behind.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from scoring_runtime.errors import ArchiveUnsafe, ModelLoadFailed
from scoring_runtime.fetch.source import shown

RESERVED_PREFIX = ".scoring-fetch"
RECORD = RESERVED_PREFIX + ".json"
WORKSPACE_PREFIX = RESERVED_PREFIX + "-"
_logger = logging.getLogger(__name__)


class Destination:
    """The folder that gets the model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holds(self, uri: str, sha256: str | None) -> bool:
        """Whether a complete fetch of this address, with this checksum, is here."""
        record = self._record()
        return (
            record.get("complete") is True
            and record.get("key") == _key(uri, sha256)
            and all((self._folder / name).exists() for name in record["entries"])
        )

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give an empty folder on the same file system; it is removed in the end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left_over in self._folder.glob(WORKSPACE_PREFIX + "*"):
            shutil.rmtree(left_over)
        path = Path(tempfile.mkdtemp(prefix=WORKSPACE_PREFIX, dir=self._folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def place(self, content: Path, uri: str, sha256: str | None) -> None:
        """Move what is in `content` here, in the place of what an earlier fetch left.

        Raises ModelLoadFailed when something else is in the way; nobody's own files are removed.
        """
        names = sorted(entry.name for entry in content.iterdir())
        reserved = [name for name in names if name.startswith(RESERVED_PREFIX)]
        if reserved:
            raise ArchiveUnsafe(f"the model has {', '.join(reserved)}, a name that the fetch keeps for itself")
        for name in self._record().get("entries", []):
            _remove(self._folder / name)
        in_the_way = [name for name in names if (self._folder / name).exists()]
        if in_the_way:
            raise ModelLoadFailed(
                f"{self._folder} already has {', '.join(in_the_way)}, which no earlier fetch put there; "
                "empty the folder or choose another one"
            )
        record = {"uri": shown(uri), "key": _key(uri, sha256), "entries": names}
        self._write({**record, "complete": False})
        for name in names:
            (content / name).replace(self._folder / name)
        self._write({**record, "complete": True})

    def _record(self) -> dict[str, Any]:
        try:
            record = orjson.loads((self._folder / RECORD).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return record if isinstance(record, dict) else {}

    def _write(self, record: dict[str, Any]) -> None:
        temporary = self._folder / (RECORD + ".new")
        temporary.write_bytes(orjson.dumps(record))
        temporary.replace(self._folder / RECORD)


def _key(uri: str, sha256: str | None) -> str:
    """Return what tells one fetch from another; a digest, since an address may hold a secret."""
    return hashlib.sha256(f"{uri}\n{sha256 or ''}".encode()).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
