"""s3://bucket/key: one object, or with a trailing slash (or where the key is only a prefix) all objects below it.

Credentials come from the environment or from the pod's service account, as AWS' own libraries find them; without any,
the objects are read anonymously. AWS_ENDPOINT_URL points at MinIO, Ceph and the like.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from scoring_runtime.errors import (
    ModelAccessDenied,
    ModelNotFound,
    ModelSourceUnavailable,
    SettingsInvalid,
    StartupError,
)
from scoring_runtime.fetch.source import BLOCK_BYTES, PARALLEL_BLOCKS, Listing, RemoteFile, safe_path
from scoring_runtime.fetch.trust import bundle
from scoring_runtime.s3 import endpoint, file_system
from scoring_runtime.settings import Settings

_Result = TypeVar("_Result")


def open_source(uri: str, settings: Settings) -> S3Source:
    """Open an s3:// address."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise SettingsInvalid(f"SCORING_MODEL_URI={uri!r}: write s3://BUCKET/KEY")
    return S3Source(uri, bucket, key)


class S3Source:
    """One object or prefix."""

    def __init__(self, uri: str, bucket: str, key: str) -> None:
        self._uri = uri
        self._bucket = bucket
        self._key = key
        self._files = file_system(os.environ, authorities=bundle())

    def listing(self) -> Listing:
        """See `Source.listing`."""
        return self._guarded(self._listing)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return offset, self._blocks(file, offset)

    def _listing(self) -> Listing:
        path = f"{self._bucket}/{self._key}"
        self._files.invalidate_cache()
        if not self._key.endswith("/"):
            try:
                size = self._files.info(path)["size"]
                if self._files.isfile(path):
                    return Listing((RemoteFile(path.rpartition("/")[2], size, path),), is_folder=False)
            except FileNotFoundError:
                pass
        prefix = path.rstrip("/") + "/"
        found = self._files.find(prefix, detail=True)
        files = tuple(
            RemoteFile(safe_path(key.removeprefix(prefix)), entry["size"], key)
            for key, entry in sorted(found.items())
            if not key.endswith("/")
        )
        if not files:
            raise FileNotFoundError
        return Listing(files, is_folder=True)

    def _blocks(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        assert file.size is not None
        while offset < file.size:
            end = min(offset + BLOCK_BYTES * PARALLEL_BLOCKS, file.size)
            starts = list(range(offset, end, BLOCK_BYTES))
            ends = [min(start + BLOCK_BYTES, end) for start in starts]
            yield from self._guarded(partial(self._ranges, file.key, starts, ends))
            offset = end

    def _ranges(self, key: str, starts: Sequence[int], ends: Sequence[int]) -> Sequence[bytes]:
        blocks: Sequence[bytes] = self._files.cat_ranges(
            [key] * len(starts), list(starts), list(ends), on_error="raise"
        )
        for block, start, end in zip(blocks, starts, ends, strict=True):
            if len(block) != end - start:
                raise OSError(f"{end - start} bytes were asked for and {len(block)} came")
        return blocks

    def _guarded(self, call: Callable[[], _Result]) -> _Result:
        from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]

        try:
            return call()
        except NoCredentialsError:
            # A public bucket needs none.
            self._files = file_system(os.environ, anonymous=True, authorities=bundle())
        except Exception as error:
            raise self._explained(error) from error
        try:
            return call()
        except Exception as error:
            raise self._explained(error, without_credentials=True) from error

    def _explained(self, error: Exception, without_credentials: bool = False) -> StartupError:
        if isinstance(error, StartupError):
            return error
        if isinstance(error, FileNotFoundError):
            return ModelNotFound(f"404 on {self._uri}; there is no such object, and none below it")
        if isinstance(error, PermissionError):
            if without_credentials:
                return ModelAccessDenied(
                    f"403 on {self._uri}; there are no credentials: name a Secret in model.credentials.secretName "
                    "with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                )
            return ModelAccessDenied(f"403 on {self._uri}; the credentials may not read it ({_said(error)})")
        where = endpoint(os.environ) or "S3"
        return ModelSourceUnavailable(f"{self._uri} cannot be read from {where}: {_said(error)}")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
