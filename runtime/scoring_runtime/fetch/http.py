"""http:// and https://: one file, or one archive.

`HTTP_BEARER_TOKEN` in the environment is sent as a bearer token, never past a redirect to another address. Broken
transfers go on where they stopped, if the server can do that (RFC 9110, 14: Range and If-Range).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.fetch.client import Client, Wording
from scoring_runtime.fetch.source import Listing, RemoteFile, shown
from scoring_runtime.settings import Settings

TOKEN_VARIABLE = "HTTP_BEARER_TOKEN"  # noqa: S105


def open_source(uri: str, settings: Settings) -> HttpSource:
    """Open an http:// or https:// address."""
    parts = urlsplit(uri)
    if not parts.hostname:
        raise SettingsInvalid(f"SCORING_MODEL_URI={shown(uri)!r}: it has no host")
    if parts.path.endswith("/"):
        raise SettingsInvalid(
            f"SCORING_MODEL_URI={shown(uri)!r}: over HTTP only one file can be fetched; name a file or an archive"
        )
    return HttpSource(uri, os.environ.get(TOKEN_VARIABLE))


class HttpSource:
    """One address. The size and the entity tag are those of the first answer."""

    def __init__(self, uri: str, token: str | None) -> None:
        remedy = "the token is not accepted" if token else f"put a token for it in {TOKEN_VARIABLE}"
        wording = Wording(shown(uri), "there is no such file", f"{remedy} (model.credentials.secretName)")
        self._uri = uri
        self._client = Client(wording, lambda: f"Bearer {token}" if token else None)
        self._tag: str | None = None

    def listing(self) -> Listing:
        """See `Source.listing`. Asks for the file without reading it; HEAD is often not allowed where GET is."""
        with self._client.get(self._uri) as response:
            self._tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
            length = response.headers.get("Content-Length")
        name = PurePosixPath(unquote(urlsplit(self._uri).path)).name or "model"
        size = int(length) if length and length.isdigit() else None
        return Listing((RemoteFile(name, size),), is_folder=False)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return self._client.read(self._uri, offset, self._tag)
