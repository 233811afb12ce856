"""file:///absolute/path: a file or folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scoring_runtime.errors import (
    ArchiveUnsafe,
    ModelAccessDenied,
    ModelNotFound,
    ModelSourceUnavailable,
    SettingsInvalid,
)
from scoring_runtime.fetch.source import CHUNK_BYTES, Listing, RemoteFile
from scoring_runtime.settings import Settings


def open_source(uri: str, settings: Settings) -> LocalSource:
    """Open a file:// address."""
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise SettingsInvalid(f"SCORING_MODEL_URI={uri!r}: write three slashes, file:///absolute/path")
    return LocalSource(Path(unquote(parts.path)), uri)


class LocalSource:
    """A path. Links are followed inside the folder, and refused when they lead out of it."""

    def __init__(self, path: Path, uri: str) -> None:
        self._path = path
        self._uri = uri

    def listing(self) -> Listing:
        """See `Source.listing`."""
        try:
            if self._path.is_dir():
                return Listing(tuple(self._walk()), is_folder=True)
            size = self._path.stat().st_size
        except FileNotFoundError:
            raise ModelNotFound(f"there is nothing at {self._uri}") from None
        except PermissionError:
            raise ModelAccessDenied(
                f"no permission to read {self._uri}; its files must be readable by this user"
            ) from None
        return Listing((RemoteFile(self._path.name, size, str(self._path)),), is_folder=False)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return offset, self._chunks(Path(file.key), offset)

    def _chunks(self, path: Path, offset: int) -> Iterator[bytes]:
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except PermissionError:
            raise ModelAccessDenied(f"no permission to read {path}; it must be readable by this user") from None
        except OSError as error:
            raise ModelSourceUnavailable(f"reading {path} failed: {error.strerror}") from error

    def _walk(self) -> Iterator[RemoteFile]:
        root = self._path.resolve()
        for entry in sorted(self._path.rglob("*")):
            if entry.is_dir():
                continue
            target = entry.resolve()
            if not target.is_relative_to(root) or not target.is_file():
                raise ArchiveUnsafe(
                    f"{entry} is a link out of {self._path}, or no regular file; put the file itself there"
                )
            yield RemoteFile(entry.relative_to(self._path).as_posix(), target.stat().st_size, str(target))
