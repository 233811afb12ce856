"""Getting a key set over HTTPS: bounded in size and time, and never from another address than the one that was set."""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from scoring_runtime.auth.jwks import MAX_BYTES
from scoring_runtime.errors import SettingsInvalid

# For each step of the connection, and for all of it. In seconds.
STEP_SECONDS = 5.0
TOTAL_SECONDS = 15.0
_CHUNK = 16 * 1024


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: it could lead to plain HTTP, or to another host of the cluster's network."""
        return


class KeySetAddress:
    """An https:// address; http:// only on this machine. Raises SettingsInvalid for any other.

    Certificates are checked against the system's authorities, or those that SSL_CERT_FILE names; HTTPS_PROXY and
    NO_PROXY are honoured.
    """

    def __init__(self, url: str) -> None:
        # Without what may be a secret: a query or a user's name.
        self.shown = url.partition("?")[0]
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise _unusable("the address cannot be read", "") from None
        if parts.username is not None or parts.password is not None:
            raise _unusable("the address must not have a user's name or password in it", host)
        if not host or port == 0:
            raise _unusable("the address has no host", self.shown)
        if parts.scheme != "https" and not _is_this_machine(host):
            raise _unusable("keys are fetched by https:// only (http:// from this machine)", self.shown)
        self._url = url
        self._opener = urllib.request.build_opener(_NoRedirects)

    def fetch(self) -> bytes:
        """Return what is there. Raises OSError or ValueError with a sentence that names the address."""
        asked = urllib.request.Request(  # noqa: S310 (the scheme was checked)
            self._url, headers={"Accept": "application/json", "User-Agent": "scoring-runtime"}
        )
        end = time.monotonic() + TOTAL_SECONDS
        try:
            with self._opener.open(asked, timeout=STEP_SECONDS) as response:
                return self._read(response, end)
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{self.shown} answers {error.code}") from None
        except urllib.error.URLError as error:
            raise OSError(f"{self.shown}: {error.reason}") from None
        except TimeoutError:
            raise OSError(f"{self.shown} is too slow") from None
        except http.client.HTTPException as error:
            raise OSError(f"{self.shown} does not speak HTTP: {type(error).__name__}") from None

    def _read(self, response: http.client.HTTPResponse, end: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(_CHUNK):
            size += len(chunk)
            if size > MAX_BYTES:
                raise ValueError(f"{self.shown} sends more than {MAX_BYTES} bytes")
            if time.monotonic() > end:
                raise TimeoutError
            chunks.append(chunk)
        return b"".join(chunks)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unusable(why: str, shown: str) -> SettingsInvalid:
    at = f" ({shown})" if shown else ""
    return SettingsInvalid(f"SCORING_TOKEN_JWKS: {why}{at}; write https://HOST/PATH or a file's path")
