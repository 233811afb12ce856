"""Unpacking .zip and .tar archives that nobody vouches for.

Only regular files and folders are unpacked, only inside the target, and only up to bounds: an archive of a few
kilobytes can otherwise fill a disk. If everything lies in one folder of the archive, that folder is left out.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from scoring_runtime.errors import ArchiveUnsafe, ModelInvalid, ModelTooLarge
from scoring_runtime.fetch.source import CHUNK_BYTES, safe_path

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ZIP_SUFFIXES = (".zip",)
MAX_FILES = 10_000
# Weights compress by a factor of 2 at the best, sparse or constant ones more; a bomb by hundreds.
MAX_RATIO = 100
FREE_OF_RATIO_BYTES = 64 << 20

_Open = Callable[[], IO[bytes]]
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError,
    NotImplementedError, RuntimeError, UnicodeDecodeError, OverflowError, ValueError,
    # From readers of the standard library that look at bytes which are not there.
    TypeError, IndexError, KeyError, AttributeError, struct.error,
)  # fmt: skip


def is_archive(name: str) -> bool:
    """Whether a file of that name is unpacked."""
    return name.lower().endswith(TAR_SUFFIXES + ZIP_SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` into the new `folder`.

    Raises ArchiveUnsafe for links, devices, paths that lead out and bombs, ModelInvalid for a damaged archive,
    ModelTooLarge when the disk has not enough room.
    """
    folder.mkdir()
    budget = Budget(archive.stat().st_size, shutil.disk_usage(folder).free)
    members = _zip_members if archive.name.lower().endswith(ZIP_SUFFIXES) else _tar_members
    with readable(archive), closing(members(archive)) as found:
        for path, read in found:
            budget.file()
            target = folder / safe_path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                raise ArchiveUnsafe(f"{archive.name} has {path} twice")
            with read() as stream:
                write_member(stream, target, budget)
    _leave_out_single_folder(folder)


@contextmanager
def readable(archive: Path) -> Iterator[None]:
    """Raise ArchiveUnsafe or ModelInvalid for what a reader says of an archive that is made wrong or damaged."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ArchiveUnsafe(f"{archive.name} has one path as a file and as a folder") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArchiveUnsafe(f"{archive.name} has a name that is longer than the file system allows") from None
        if error.errno not in (None, errno.EINVAL):
            raise
        # What a decompressor says of damaged data, and the system of a position that there is not.
        raise ModelInvalid(f"{archive.name} is not such an archive, or it is damaged ({error})") from error
    except _BROKEN as error:
        raise ModelInvalid(f"{archive.name} is not such an archive, or it is damaged ({error})") from error


class Budget:
    """What may still be written."""

    def __init__(self, packed_bytes: int, free_bytes: int) -> None:
        self._by_ratio = packed_bytes * MAX_RATIO + FREE_OF_RATIO_BYTES
        self._free = free_bytes
        self._files = 0
        self._bytes = 0

    def file(self) -> None:
        """Count one more file."""
        self._files += 1
        if self._files > MAX_FILES:
            raise ArchiveUnsafe(f"the archive has more than {MAX_FILES} files")

    def write(self, size: int) -> None:
        """Count `size` bytes more."""
        self._bytes += size
        if self._bytes > self._by_ratio:
            raise ArchiveUnsafe(f"the archive unpacks to more than {MAX_RATIO} times its size")
        if self._bytes > self._free:
            raise ModelTooLarge("the unpacked model does not fit the disk; give the pod more ephemeral storage")


def write_member(stream: IO[bytes], target: Path, budget: Budget) -> None:
    """Write one file of an archive. Raises ArchiveUnsafe and ModelTooLarge when more comes than the budget has."""
    with target.open("xb") as out:
        while chunk := stream.read(CHUNK_BYTES):
            budget.write(len(chunk))
            out.write(chunk)


def _zip_members(archive: Path) -> Generator[tuple[str, _Open], None, None]:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if not member.filename:
                raise ArchiveUnsafe(f"{archive.name} has a file without a name")
            if member.is_dir():
                continue
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise ArchiveUnsafe(f"{archive.name}: {member.filename} is a link or a device; pack plain files only")
            yield member.filename, partial(content.open, member)


def _tar_members(archive: Path) -> Generator[tuple[str, _Open], None, None]:
    with tarfile.open(archive, mode="r|*") as content:
        for member in content:
            if member.isdir():
                continue
            if not member.isreg():
                raise ArchiveUnsafe(f"{archive.name}: {member.name} is a link or a device; pack plain files only")
            yield member.name, partial(_extracted, content, member)


def _extracted(content: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = content.extractfile(member)
    assert stream is not None
    return stream


def _leave_out_single_folder(folder: Path) -> None:
    entries = list(folder.iterdir())
    if len(entries) != 1 or not entries[0].is_dir():
        return
    # Under a name that nothing inside it can have.
    inner = entries[0].replace(folder.with_name(folder.name + "-inner"))
    folder.rmdir()
    inner.replace(folder)
