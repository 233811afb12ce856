"""The folder that collected data is written to: any place that fsspec knows."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from scoring_runtime.errors import FrameworkMissing, SettingsInvalid

_SETTING = "SCORING_DATA_COLLECTION_URI"
# Nothing can be written there.
_READ_ONLY = frozenset({"http", "https", "data", "zip", "tar", "libarchive", "git", "github", "jlab", "reference"})
# They have no folders to be made, and an object is there as a whole or not at all.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "tos", "obs", "r2"})
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class Storage(Protocol):
    """Where objects are written."""

    def write(self, path: str, content: bytes) -> None:
        """Write one object at a relative path, whole or not at all. Raises any Exception."""


class Folder:
    """A folder at an address such as s3://logs/faq/.

    `credentials` is a folder with one file for each of AWS' variables (a mounted Secret). It is read again after each
    failure, so that new keys are used without a restart. Raises SettingsInvalid or FrameworkMissing for an address that
    cannot be written to with what is installed; whether it can be reached shows later.
    """

    def __init__(self, uri: str, credentials: Path | None = None) -> None:
        self._scheme, self.root = _parsed(uri)
        self._uri = uri
        self._credentials = credentials
        self._files: Any = None
        self._hidden: tuple[str, ...] = ()
        check_scheme(self._scheme)

    def write(self, path: str, content: bytes) -> None:
        """See `Storage.write`."""
        try:
            if self._files is None:
                self._files = self._opened()
            files, whole = self._files, f"{self.root}/{path}"
            if self._scheme in _OBJECT_STORES:
                files.pipe_file(whole, content)
            else:
                files.makedirs(whole.rpartition("/")[0], exist_ok=True)
                # Whoever reads the folder meanwhile sees no half of a file.
                files.pipe_file(f"{whole}.part", content)
                files.mv(f"{whole}.part", whole)
        except BaseException:
            self._files = None
            raise

    def secrets(self) -> Collection[str]:
        """Return what must not be seen in logs."""
        return self._hidden

    def _opened(self) -> Any:
        if self._scheme == "s3":
            from scoring_runtime import s3

            environment = self._environment()
            self._hidden = tuple(environment[name] for name in _SECRETS if environment.get(name))
            return s3.file_system(environment)
        import fsspec

        return fsspec.core.url_to_fs(self._uri, skip_instance_cache=True)[0]

    def _environment(self) -> Mapping[str, str]:
        found = dict(os.environ)
        if self._credentials is not None and self._credentials.is_dir():
            for entry in self._credentials.iterdir():
                # A mounted Secret has links of its own beside its entries.
                if not entry.name.startswith(".") and entry.is_file():
                    found[entry.name] = entry.read_text().strip()
        return found


def check_scheme(scheme: str) -> None:
    """Raise SettingsInvalid or FrameworkMissing if nothing can be written to such an address here."""
    import fsspec

    if scheme in _READ_ONLY:
        raise SettingsInvalid(f"{_SETTING}: nothing can be written to {scheme}://; write s3://BUCKET/FOLDER/")
    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise SettingsInvalid(f"{_SETTING}: {scheme}:// is not known; write s3://BUCKET/FOLDER/") from None
    except ImportError as error:
        needed = error.name or str(error)
        raise FrameworkMissing(
            f"{_SETTING}: {scheme}:// addresses need a Python package that this image does not have ({needed}); "
            "name an image that has it, or write s3://BUCKET/FOLDER/"
        ) from None


def _parsed(uri: str) -> tuple[str, str]:
    """Return the scheme and what follows it, without a slash at the end."""
    parts = urlsplit(uri)
    scheme, _, path = uri.partition("://")
    path = path.rstrip("/")
    if "::" in uri or not path or not parts.scheme:
        raise SettingsInvalid(f"{_SETTING} must be the address of a folder, such as s3://BUCKET/FOLDER/")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsInvalid(f"{_SETTING} must not hold a user, a query or a fragment; credentials belong in a Secret")
    return scheme.lower(), path
