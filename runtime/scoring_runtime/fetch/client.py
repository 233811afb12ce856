"""The HTTP client of all schemes that speak HTTP: one way to be refused, to be redirected, to break off and to go on.

A credential goes to the address it is for and not past a redirect to another one, and nothing goes from https to http.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

import orjson

from scoring_runtime.errors import ModelAccessDenied, ModelNotFound, ModelSourceUnavailable, StartupError
from scoring_runtime.fetch.source import CHUNK_BYTES, shown
from scoring_runtime.fetch.trust import tls_context

TIMEOUT_SECONDS = 30.0
MAX_REPLY_BYTES = 64 << 20
"""The largest listing that is read into memory."""
_MAX_SAID = 200
_HEADERS = {"User-Agent": "scoring-runtime"}
Authorization = Callable[[], str | None]


@dataclass(frozen=True)
class Wording:
    """How messages name what is asked for, and what to do."""

    address: str
    """The model's address, without secrets."""
    missing: str
    """What 404 means: "there is no such file"."""
    denied: str
    """What to do about 401 and 403."""
    stranger: str = "check its address"
    """What to do where something answers that does not speak the protocol."""


class Client:
    """Asks servers for replies and files.

    `authorization` returns the header's value anew for each request, or None; its StartupErrors pass.
    """

    def __init__(self, wording: Wording, authorization: Authorization = lambda: None) -> None:
        self.wording = wording
        self._authorization = authorization
        self._opener = urllib.request.build_opener(_Redirects, urllib.request.HTTPSHandler(context=tls_context()))

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """Ask for `url`. Raises ModelNotFound, ModelAccessDenied and ModelSourceUnavailable."""
        request = urllib.request.Request(url, headers={**_HEADERS, **(headers or {})})  # noqa: S310
        authorization = self._authorization()
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            return self._open(request)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None

    def challenge(self, url: str) -> str | None:
        """Return what a server wants (WWW-Authenticate), or None where it answers without authorization."""
        try:
            self._open(urllib.request.Request(url, headers=_HEADERS)).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            wanted = error.headers.get("WWW-Authenticate")
            with error:
                if error.code == http.client.UNAUTHORIZED and wanted:
                    return wanted
                raise self._refused(error) from None
        return None

    def reply(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, http.client.HTTPMessage]:
        """Return the whole body of a small answer, and its headers."""
        with self.get(url, headers) as response:
            body = b"".join(self.chunks(response, MAX_REPLY_BYTES))
            return body, response.headers

    def json_object(self, url: str) -> dict[str, Any]:
        """Return the JSON object that is the answer. Raises ModelSourceUnavailable when it is something else."""
        return self.fields(self.parsed(self.reply(url)[0]))

    def parsed(self, body: bytes) -> Any:
        """Return what a JSON body says. Raises ModelSourceUnavailable when it is something else."""
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self.misunderstood() from None

    def fields(self, found: object) -> dict[str, Any]:
        """Return a part of an answer that must be a JSON object. Raises ModelSourceUnavailable when it is none."""
        if not isinstance(found, dict):
            raise self.misunderstood()
        return found

    def text(self, found: object, name: str) -> str:
        """Return a field that must be a text. Raises ModelSourceUnavailable when there is none."""
        value = self.fields(found).get(name)
        if not isinstance(value, str):
            raise self.misunderstood()
        return value

    def misunderstood(self) -> ModelSourceUnavailable:
        """Return the error for an answer that is none of the protocol."""
        wording = self.wording
        return ModelSourceUnavailable(f"what answers for {wording.address} is no such server; {wording.stranger}")

    def nothing(self) -> ModelNotFound:
        """Return the error for an address below which a server that answers has nothing."""
        return ModelNotFound(f"404 on {self.wording.address}; {self.wording.missing}")

    def read(self, url: str, offset: int, tag: str | None = None, pinned: bool = False) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`. `tag` is the entity tag of the first part; `pinned`: `url` never changes its content."""
        headers = {}
        # Without a tag nobody knows whether the rest belongs to the same file; a weak one is no proof
        # (RFC 9110, 13.1.5).
        if offset and (pinned or (tag and not tag.startswith("W/"))):
            headers["Range"] = f"bytes={offset}-"
            if tag and not pinned:
                headers["If-Range"] = tag
        response = self.get(url, headers)
        start = offset if response.status == http.client.PARTIAL_CONTENT else 0
        return start, self.chunks(response)

    def chunks(self, response: http.client.HTTPResponse, limit: int | None = None) -> Iterator[bytes]:
        """Return the body in parts. Raises ModelSourceUnavailable when it breaks off or has more than `limit` bytes."""
        seen = 0
        with response:
            try:
                while chunk := response.read(CHUNK_BYTES):
                    seen += len(chunk)
                    if limit is not None and seen > limit:
                        raise ModelSourceUnavailable(
                            f"an answer for {self.wording.address} has more than {limit} bytes"
                        )
                    yield chunk
            except (OSError, http.client.HTTPException) as error:
                raise ModelSourceUnavailable(f"the transfer of {self.wording.address} broke: {error}") from error
            if response.length:
                raise ModelSourceUnavailable(
                    f"the transfer of {self.wording.address} ended {response.length} bytes early"
                )

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Raises HTTPError for what the server says, and ModelSourceUnavailable where it says nothing."""
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        return response

    def _refused(self, error: urllib.error.HTTPError) -> StartupError:
        status, address = error.code, self.wording.address
        said = _said(error)
        if status in (401, 403, 407):
            return ModelAccessDenied(f"{status} on {address}; {self.wording.denied}{said}")
        # Some servers say 400 of names that there cannot be; asking again would not help.
        if status in (400, 404, 410):
            return ModelNotFound(f"{status} on {address}; {self.wording.missing}{said}")
        return ModelSourceUnavailable(f"{status} on {address}{said}")

    def _unreachable(self, error: Exception) -> ModelSourceUnavailable:
        address = self.wording.address
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ModelSourceUnavailable(f"the certificate of {address} is not trusted: {cause.verify_message}")
        said = (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)
        return ModelSourceUnavailable(f"{address} does not answer: {said or type(cause).__name__}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, but not from https to http, and with the credential to the same server."""

    def redirect_request(  # noqa: PLR0913, PLR0917 (its base class' signature)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in (("https",) if req.type == "https" else ("https", "http")):
            fp.close()
            kind = "unencrypted " if req.type == "https" else ""
            raise ModelSourceUnavailable(f"{shown(req.full_url)} redirects to {kind}{shown(newurl)}; refused")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        credential = req.unredirected_hdrs.get("Authorization")
        if request is not None and credential and _origin(newurl) == _origin(req.full_url):
            request.add_unredirected_header("Authorization", credential)
        return request


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _said(error: urllib.error.HTTPError) -> str:
    """Return what a JSON answer says of itself, in the forms that the servers of models have."""
    try:
        body = orjson.loads(error.read(CHUNK_BYTES))
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
        return ""
    found = body if isinstance(body, dict) else {}
    inner = found.get("error")
    errors = found.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        inner = errors[0]
    text = inner.get("message") if isinstance(inner, dict) else found.get("message") or inner
    return f" ({' '.join(text.split())[:_MAX_SAID]})" if isinstance(text, str) and text else ""
