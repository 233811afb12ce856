"""http:// and https://: one file, or one archive.

`HTTP_BEARER_TOKEN` in the environment is sent as a bearer token, never past a redirect to another address. Broken
transfers go on where they stopped, if the server can do that (RFC 9110, 14: Range and If-Range).
"""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from scoring_runtime.errors import (
    ModelAccessDenied,
    ModelNotFound,
    ModelSourceUnavailable,
    SettingsInvalid,
    StartupError,
)
from scoring_runtime.fetch.source import CHUNK_BYTES, Listing, RemoteFile, shown
from scoring_runtime.settings import Settings

TIMEOUT_SECONDS = 30.0
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


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http."""

    def redirect_request(  # noqa: PLR0913, PLR0917 (its base class' signature)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise ModelSourceUnavailable(f"{shown(req.full_url)} redirects to unencrypted {shown(newurl)}; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class HttpSource:
    """One address. The size and the entity tag are those of the first answer."""

    def __init__(self, uri: str, token: str | None) -> None:
        self._uri = uri
        self._shown = shown(uri)
        self._token = token
        self._opener = urllib.request.build_opener(_NoDowngrade)
        self._tag: str | None = None

    def listing(self) -> Listing:
        """See `Source.listing`. Asks for the file without reading it; HEAD is often not allowed where GET is."""
        with self._get(0) as response:
            self._tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
            length = response.headers.get("Content-Length")
        name = PurePosixPath(unquote(urlsplit(self._uri).path)).name or "model"
        size = int(length) if length and length.isdigit() else None
        return Listing((RemoteFile(name, size),), is_folder=False)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        response = self._get(offset)
        start = offset if response.status == http.client.PARTIAL_CONTENT else 0
        return start, self._chunks(response)

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        with response:
            try:
                while chunk := response.read(CHUNK_BYTES):
                    yield chunk
            except (OSError, http.client.HTTPException) as error:
                raise ModelSourceUnavailable(f"the transfer of {self._shown} broke: {error}") from error
            if response.length:
                raise ModelSourceUnavailable(f"the transfer of {self._shown} ended {response.length} bytes early")

    def _get(self, offset: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._uri, headers={"User-Agent": "scoring-runtime"})  # noqa: S310
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        # Without a tag nobody knows whether the rest belongs to the same file; a weak one is no proof
        # (RFC 9110, 13.1.5).
        if offset and self._tag and not self._tag.startswith("W/"):
            request.add_header("Range", f"bytes={offset}-")
            request.add_header("If-Range", self._tag)
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error.code) from None
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        return response

    def _refused(self, status: int) -> StartupError:
        if status in (401, 403, 407):
            remedy = "the token is not accepted" if self._token else f"put a token for it in {TOKEN_VARIABLE}"
            return ModelAccessDenied(f"{status} on {self._shown}; {remedy} (model.credentials.secretName)")
        if status in (404, 410):
            return ModelNotFound(f"{status} on {self._shown}; there is no such file")
        return ModelSourceUnavailable(f"{status} on {self._shown}")

    def _unreachable(self, error: Exception) -> ModelSourceUnavailable:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ModelSourceUnavailable(f"the certificate of {self._shown} is not trusted: {cause.verify_message}")
        said = (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)
        return ModelSourceUnavailable(f"{self._shown} does not answer: {said or type(cause).__name__}")
