"""From the layers of an artifact or image to the folder they describe.

Of an image only one folder counts, `Listing.root`, and in it only regular files: the links of the system around it are
never looked at. A later layer replaces files of an earlier one, and removes them by whiteouts
(https://github.com/opencontainers/image-spec/blob/main/layer.md).
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from scoring_runtime.errors import ArchiveUnsafe, ModelInvalid
from scoring_runtime.fetch.archives import Budget, readable, write_member
from scoring_runtime.fetch.source import Listing, safe_path

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def merged(listing: Listing, content: Path) -> Path:
    """Return a new folder beside `content` with what its files, in the order of the listing, make together.

    Raises ArchiveUnsafe for links, devices and paths that lead out, ModelInvalid for damaged layers and a model that is
    empty, ModelTooLarge when the disk has not enough room.
    """
    folder = content.with_name("merged")
    folder.mkdir()
    packed = sum((content / file.path).stat().st_size for file in listing.files)
    budget = Budget(packed, shutil.disk_usage(folder).free)
    for file in listing.files:
        if file.unpacks:
            _Layer(content / file.path, folder, listing.root).unpack(budget)
            (content / file.path).unlink()
        else:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (content / file.path).replace(target)
    if not any(folder.iterdir()):
        raise ModelInvalid(f"the image has nothing in /{listing.root}; copy the model there when it is built")
    return folder


class _Layer:
    """One layer on its way into the folder."""

    def __init__(self, archive: Path, folder: Path, root: str) -> None:
        self._archive = archive
        self._folder = folder
        self._root = PurePosixPath(root).parts
        self._written: set[Path] = set()

    def unpack(self, budget: Budget) -> None:
        with readable(self._archive), tarfile.open(self._archive, mode="r|*") as content:
            for member in content:
                target = self._target(member.name)
                if target is None:
                    continue
                if target.name.startswith(_WHITEOUT):
                    self._remove(target)
                elif member.isreg():
                    self._write(content, member, target, budget)
                elif not member.isdir():
                    raise ArchiveUnsafe(f"{member.name} in the model is a link or a device; put the file itself there")

    def _target(self, name: str) -> Path | None:
        """Return where a member goes; None for what is not of the model."""
        parts = PurePosixPath(name.lstrip("/")).parts
        if parts[: len(self._root)] != self._root or len(parts) <= len(self._root):
            return None
        return self._folder / safe_path("/".join(parts[len(self._root) :]))

    def _write(self, content: tarfile.TarFile, member: tarfile.TarInfo, target: Path, budget: Budget) -> None:
        if target in self._written:
            raise ArchiveUnsafe(f"a layer has {member.name} twice")
        budget.file()
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(target)
        stream = content.extractfile(member)
        assert stream is not None
        write_member(stream, target, budget)
        self._written.add(target)

    def _remove(self, whiteout: Path) -> None:
        """Remove what earlier layers have there."""
        if whiteout.name != _OPAQUE:
            name = whiteout.name.removeprefix(_WHITEOUT)
            if name in ("", ".", ".."):
                raise ArchiveUnsafe(f"a layer removes {name!r}, which is no name of a file")
            _remove(whiteout.with_name(name))
        elif whiteout.parent.is_dir():
            for path in sorted(whiteout.parent.rglob("*"), reverse=True):
                if path.is_file() and path not in self._written:
                    path.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
