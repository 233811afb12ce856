"""gs://bucket/key: one object of Google Cloud Storage, or all objects below a prefix, as with s3://.

Credentials are what Google's own library finds: a key in `GOOGLE_CREDENTIALS` (its JSON, as an entry of a Secret), the
file of `GOOGLE_APPLICATION_CREDENTIALS`, workload identity, or the service account of the machine; without any, the
objects are read anonymously. Objects are read over the JSON API (https://cloud.google.com/storage/docs/json_api), each
pinned to the generation that was listed, so that a transfer can go on where it broke.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from scoring_runtime.errors import (
    FrameworkMissing,
    ModelAccessDenied,
    ModelNotFound,
    ModelSourceUnavailable,
    SettingsInvalid,
)
from scoring_runtime.fetch.client import Authorization, Client, Wording
from scoring_runtime.fetch.source import Listing, RemoteFile, safe_path
from scoring_runtime.fetch.trust import bundle
from scoring_runtime.settings import Settings

KEY_VARIABLE = "GOOGLE_CREDENTIALS"
FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
ENDPOINT_VARIABLE = "STORAGE_EMULATOR_HOST"
"""Where another server than Google's answers; the name is that of Google's libraries."""
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)
_FIELDS = "name,size,generation,contentEncoding"


def open_source(uri: str, settings: Settings) -> GsSource:
    """Open a gs:// address."""
    bucket, _, key = uri.removeprefix("gs://").partition("/")
    if not bucket or not key:
        raise SettingsInvalid(f"SCORING_MODEL_URI={uri!r}: write gs://BUCKET/KEY")
    authorization = _authorization(uri)
    denied = (
        "the credentials may not read it; the account needs the role Storage Object Viewer"
        if authorization
        else f"there are no credentials: name a Secret in model.credentials.secretName with {KEY_VARIABLE}, the JSON "
        "of a service account's key"
    )
    wording = Wording(uri, "there is no such object, and none below it", denied, f"check {ENDPOINT_VARIABLE}")
    return GsSource(Client(wording, authorization or (lambda: None)), bucket, key)


class GsSource:
    """One object or prefix."""

    def __init__(self, client: Client, bucket: str, key: str) -> None:
        host = os.environ.get(ENDPOINT_VARIABLE) or "https://storage.googleapis.com"
        self._client = client
        self._objects = f"{host if '://' in host else f'http://{host}'}/storage/v1/b/{quote(bucket, safe='')}/o"
        self._key = key

    def listing(self) -> Listing:
        """See `Source.listing`."""
        if not self._key.endswith("/"):
            try:
                found = self._client.json_object(f"{self._url(self._key)}?{urlencode({'fields': _FIELDS})}")
                return Listing((self._file(found, self._key.rpartition("/")[2]),), is_folder=False)
            except ModelNotFound:
                pass
        prefix = self._key.rstrip("/") + "/"
        entries = {self._client.text(entry, "name"): entry for entry in self._below(prefix)}
        files = tuple(
            self._file(entry, safe_path(name.removeprefix(prefix)))
            for name, entry in entries.items()
            if not name.endswith("/")
        )
        if not files:
            raise self._client.nothing()
        return Listing(files, is_folder=True)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return self._client.read(file.key, offset, pinned=True)

    def _below(self, prefix: str) -> Iterator[dict[str, Any]]:
        query = {"prefix": prefix, "fields": f"items({_FIELDS}),nextPageToken"}
        while True:
            page = self._client.json_object(f"{self._objects}?{urlencode(query)}")
            yield from page.get("items", ())
            if "nextPageToken" not in page:
                return
            query["pageToken"] = page["nextPageToken"]

    def _file(self, entry: dict[str, Any], path: str) -> RemoteFile:
        name, size, generation = (self._client.text(entry, field) for field in ("name", "size", "generation"))
        media = {"alt": "media", "generation": generation}
        # Google unpacks such an object as it sends it, and its size is that before.
        unpacked = entry.get("contentEncoding") == "gzip"
        return RemoteFile(path, None if unpacked else int(size), f"{self._url(name)}?{urlencode(media)}")

    def _url(self, key: str) -> str:
        return f"{self._objects}/{quote(key, safe='')}"


def _authorization(uri: str) -> Authorization | None:
    """Return what signs requests, or None where there are no credentials at all."""
    try:
        from google.auth import exceptions
        from google.auth.transport.requests import Request
    except ImportError:
        raise FrameworkMissing(
            "gs:// addresses need the Python package google-auth, which this image does not have"
        ) from None
    import requests

    credentials = _credentials()
    if credentials is None:
        return None
    session = requests.Session()
    session.verify = bundle() or True
    transport = Request(session)

    def authorization() -> str | None:
        headers: dict[str, str] = {}
        try:
            credentials.before_request(transport, "GET", uri, headers)
        except exceptions.GoogleAuthError as error:
            said = " ".join(str(error.args[0] if error.args else error).split())[:200]
            if error.retryable or isinstance(error, exceptions.TransportError):
                raise ModelSourceUnavailable(f"no token for {uri}: {said}") from error
            raise ModelAccessDenied(f"no token for {uri}: Google refuses the credentials ({said})") from error
        return headers.get("authorization")

    return authorization


def _credentials() -> Any:
    """Return Google's credentials, or None where there are none. Raises SettingsInvalid for unusable ones."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.oauth2.service_account import Credentials

    key = os.environ.get(KEY_VARIABLE)
    if key:
        try:
            return Credentials.from_service_account_info(orjson.loads(key), scopes=SCOPES)
        except (ValueError, TypeError, AttributeError):
            # The library's own words may quote the key.
            raise SettingsInvalid(
                f"{KEY_VARIABLE} is no key of a service account; put the JSON file into the Secret as Google gave it: "
                f"--from-file={KEY_VARIABLE}=key.json"
            ) from None
    file = os.environ.get(FILE_VARIABLE)
    if os.environ.get(ENDPOINT_VARIABLE) and not file:
        return None
    try:
        return google.auth.default(scopes=SCOPES)[0]
    except DefaultCredentialsError as error:
        if file:
            raise SettingsInvalid(f"{FILE_VARIABLE}={file!r}: {' '.join(str(error.args[0]).split())[:200]}") from None
        return None
