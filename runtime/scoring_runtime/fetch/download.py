"""Copying what a source holds into a folder: space, retries, resumption, checksums, progress."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scoring_runtime.errors import ArchiveUnsafe, ModelChecksumMismatch, ModelSourceUnavailable, ModelTooLarge
from scoring_runtime.fetch.source import Listing, RemoteFile, Source, safe_path

PROGRESS_SECONDS = 5.0
_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Retries:
    """How often to try again when a source is unavailable; the pause doubles each time, progress starts it anew."""

    attempts: int = 5
    first_pause_seconds: float = 0.5


def download(source: Source, folder: Path, sha256: str | None, retries: Retries) -> Listing:
    """Copy all files of `source` into the new `folder` and check the sha256.

    Returns what it copied. A folder's sha256, if its source has none of its own, is that of the lines
    "<sha256 of the file>  <relative path>", sorted by path as bytes: what this prints in the folder:
    `find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum`.
    Raises ModelTooLarge, ModelChecksumMismatch, ArchiveUnsafe for paths that lead out or come twice, and what the
    source raises.
    """
    listing = _again(source.listing, retries)
    if listing.sha256 is not None:
        _check(listing.sha256, sha256)
    _check_space(listing, folder.parent)
    folder.mkdir()
    progress = _Progress(listing)
    digests = []
    for file in listing.files:
        target = folder / safe_path(file.path)
        if target.exists():
            raise ArchiveUnsafe(f"the model has {file.path} twice; store one of them under another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        digests.append((file.path, _copy(source, file, target, _Copying(retries, progress))))
    found = listing.sha256 or (_folder_digest(digests) if listing.is_folder else digests[0][1])
    _logger.info("fetched", extra={"files": len(digests), "bytes": progress.done, "sha256": found})
    _check(found, sha256)
    return listing


def _check(found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise ModelChecksumMismatch(
            f"the model's sha256 is {found} and should be {wanted}; it was changed or damaged, or the number is wrong"
        )


@dataclass(frozen=True)
class _Copying:
    retries: Retries
    progress: _Progress


def _copy(source: Source, file: RemoteFile, target: Path, copying: _Copying) -> str:
    """Copy one file and return its sha256; goes on where it broke."""
    retries = copying.retries
    digest = hashlib.sha256()
    done = 0
    failures = 0
    with target.open("wb") as stream:
        while True:
            before = done
            try:
                start, chunks = source.read(file, done)
                if start != done:
                    stream.seek(start)
                    stream.truncate()
                    digest, done = hashlib.sha256(), start
                for chunk in chunks:
                    stream.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    copying.progress.add(len(chunk))
                if file.size is not None and done != file.size:
                    raise ModelSourceUnavailable(f"{file.path} has {file.size} bytes and {done} came")
                return _verified(file, digest.hexdigest())
            except ModelSourceUnavailable as error:
                failures = 1 if done > before else failures + 1
                if failures >= retries.attempts:
                    raise
                _pause(error, failures, retries)


def _verified(file: RemoteFile, found: str) -> str:
    if file.sha256 is not None and found != file.sha256:
        raise ModelChecksumMismatch(
            f"the sha256 of {file.path} is {found}, and its source says {file.sha256}; it is damaged"
        )
    return found


def _again(call: Callable[[], _Result], retries: Retries) -> _Result:
    for attempt in range(1, retries.attempts):
        try:
            return call()
        except ModelSourceUnavailable as error:
            _pause(error, attempt, retries)
    return call()


def _pause(error: ModelSourceUnavailable, failures: int, retries: Retries) -> None:
    seconds = retries.first_pause_seconds * 2 ** (failures - 1)
    _logger.warning("%s; trying again in %g s", error.message, seconds)
    time.sleep(seconds)


def _check_space(listing: Listing, folder: Path) -> None:
    needed = sum(file.size or 0 for file in listing.files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelTooLarge(
            f"the model has {needed / 1024**2:,.0f} MiB and there are {free / 1024**2:,.0f} MiB of free disk; "
            "give the pod more ephemeral storage"
        )


def _folder_digest(digests: Sequence[tuple[str, str]]) -> str:
    lines = [f"{digest}  {path}\n".encode() for path, digest in sorted(digests, key=lambda pair: pair[0].encode())]
    return hashlib.sha256(b"".join(lines)).hexdigest()


class _Progress:
    """Says every few seconds how far the fetch is."""

    def __init__(self, listing: Listing) -> None:
        sizes = [file.size for file in listing.files]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        self._started = self._said = time.monotonic()
        self.done = 0

    def add(self, size: int) -> None:
        self.done += size
        now = time.monotonic()
        if now - self._said >= PROGRESS_SECONDS:
            self._said = now
            rate = self.done / (now - self._started) / 1024**2
            _logger.info("fetching", extra={"bytes": self.done, "of": self._total, "MiBPerSecond": round(rate, 1)})
