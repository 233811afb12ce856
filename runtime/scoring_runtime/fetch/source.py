"""What every scheme gives: the files that an address holds, and their bytes from any offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from scoring_runtime.errors import ArchiveUnsafe

CHUNK_BYTES = 1 << 20
# Several ranges at one time fill a fast line; together they are what a fetch from such a store holds in memory.
BLOCK_BYTES = 8 << 20
PARALLEL_BLOCKS = 4
CONTAINER_SCHEMES = ("az", "abfs", "abfss")
"""In these addresses, what stands before the @ is the name of a container, and no user."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model."""

    path: str
    """Relative to the model folder, with slashes."""
    size: int | None
    """In bytes; None where the source does not say."""
    key: str = ""
    """How the source itself finds it."""
    sha256: str | None = None
    """What the source says that the bytes must have; 64 hexadecimal digits."""
    unpacks: bool = False
    """Whether it is a .tar whose content takes its place, as a layer of an image is."""


@dataclass(frozen=True)
class Listing:
    """What an address holds: one file, or a folder of files."""

    files: tuple[RemoteFile, ...]
    is_folder: bool
    sha256: str | None = None
    """The checksum of the whole, where the source has one of its own."""
    root: str = ""
    """The folder in archives that counts; empty: all of it."""


class Source(Protocol):
    """An opened address. Its methods raise ModelNotFound, ModelAccessDenied, and ModelSourceUnavailable.

    Only the last is tried again.
    """

    def listing(self) -> Listing:
        """Return what is there."""

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """Return where the bytes begin (`offset`, or 0 if the source cannot start there) and the bytes to the end."""


def shown(uri: str) -> str:
    """Return an address without what may be secret in it: the query (signed addresses) and the user part."""
    address = uri.partition("?")[0].partition("#")[0]
    scheme, separator, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    if scheme.lower() not in CONTAINER_SCHEMES:
        host = host.rpartition("@")[2]
    return f"{scheme}{separator}{host}{slash}{path}"


def safe_path(path: str) -> str:
    """Return a relative path as it is, if it stays inside its folder. Raises ArchiveUnsafe otherwise."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or not pure.parts:
        raise ArchiveUnsafe(
            f"the path {path!r} in the model could reach outside its folder; store it under another name"
        )
    return str(pure)
