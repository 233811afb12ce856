"""Stores of models for the tests: small servers of this process that speak the parts of each API that a fetch uses.

The real servers, for the slow tests, are in emulators.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.runtime.gate import Answer, Asked, Behind

AZURE_KEY = base64.b64encode(b"a key of an account").decode()


class Store(Protocol):
    """Somewhere models can be, and how a fetch gets there."""

    def put(self, path: str, content: bytes) -> None: ...

    def uri(self, path: str) -> str:
        """The address of a file, or with a slash at its end of a folder."""

    def environment(self, base: str) -> Mapping[str, str]:
        """What the Secret holds, for a store that is reached at `base`."""

    @property
    def behind(self) -> Behind: ...


@dataclass
class InProcess:
    files: dict[str, bytes] = field(default_factory=dict)

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content

    @property
    def behind(self) -> Behind:
        return self  # type: ignore[return-value]


class GoogleStorage(InProcess):
    """The JSON API of Google Cloud Storage; two entries a page."""

    def uri(self, path: str) -> str:
        return f"gs://models/{path}"

    def environment(self, base: str) -> Mapping[str, str]:
        return {"STORAGE_EMULATOR_HOST": base}

    def answer(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.target).query)
        objects, _, name = asked.path.removeprefix("/storage/v1/b/").partition("/o")
        if objects != "models":
            return Answer(404, b'{"error": {"code": 404, "message": "The specified bucket does not exist."}}')
        if not name:
            return self._page(query.get("prefix", [""])[0], int(query.get("pageToken", ["0"])[0]))
        content = self.files.get(unquote(name[1:]))
        if content is None:
            return Answer(404, b'{"error": {"code": 404, "message": "No such object"}}')
        if query.get("alt") == ["media"]:
            assert query["generation"] == ["1"]
            return Answer(200, content, {"x-ranges": "", "ETag": "W/weak"})
        return Answer(200, json.dumps(self._entry(unquote(name[1:]))).encode())

    def _page(self, prefix: str, first: int) -> Answer:
        names = sorted(name for name in self.files if name.startswith(prefix))
        page: dict[str, object] = {"items": [self._entry(name) for name in names[first : first + 2]]}
        if names[first + 2 :]:
            page["nextPageToken"] = str(first + 2)
        return Answer(200, json.dumps(page).encode())

    def _entry(self, name: str) -> dict[str, str]:
        return {"name": name, "size": str(len(self.files[name])), "generation": "1"}


class AzureBlobs(InProcess):
    """The REST API of Azure Blob Storage; two entries a page."""

    def uri(self, path: str) -> str:
        return f"az://models/{path}"

    def environment(self, base: str) -> Mapping[str, str]:
        parts = {"AccountName": "demo", "AccountKey": AZURE_KEY, "BlobEndpoint": f"{base}/demo"}
        return {"AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{name}={value}" for name, value in parts.items())}

    def answer(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.target).query)
        container, _, name = unquote(asked.path).removeprefix("/demo/").partition("/")
        if container != "models":
            return _azure_error("ContainerNotFound")
        if query.get("comp") == ["list"]:
            return self._page(query.get("prefix", [""])[0], int(query.get("marker", ["0"])[0]))
        if name not in self.files:
            return _azure_error("BlobNotFound")
        content = self.files[name]
        headers = {"ETag": '"1"', "x-ms-blob-type": "BlockBlob", "Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT"}
        if asked.method == "HEAD":
            return Answer(200, b"", headers | {"Content-Length": str(len(content))})
        assert asked.headers["if-match"] == '"1"'
        return Answer(200, content, headers | {"x-ranges": ""})

    def _page(self, prefix: str, first: int) -> Answer:
        names = sorted(name for name in self.files if name.startswith(prefix))
        blobs = "".join(
            f'<Blob><Name>{escape(name)}</Name><Properties><Etag>"1"</Etag>'
            f"<Content-Length>{len(self.files[name])}</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name in names[first : first + 2]
        )
        marker = str(first + 2) if names[first + 2 :] else ""
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Prefix>{escape(prefix)}</Prefix>'
            f"<Blobs>{blobs}</Blobs>"
            f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
        )
        return Answer(200, text.encode(), {"Content-Type": "application/xml"})


def _azure_error(code: str) -> Answer:
    return Answer(404, b"", {"x-ms-error-code": code})
