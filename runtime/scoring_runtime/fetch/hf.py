"""hf://owner/repository@revision/path: files of the Hugging Face Hub, or of a server that speaks its API (HF_ENDPOINT).

Without a revision the repository's `main` is taken, without a path all of it. A branch or tag is looked up once and its
commit fetched, so that all files are of one state. Of large files the Hub knows the sha256, which is compared.
`HF_TOKEN` is sent to the Hub alone, never to the storage it redirects to. The API is that of
https://huggingface.co/docs/hub/api.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.fetch.client import Client, Wording
from scoring_runtime.fetch.source import Listing, RemoteFile, safe_path
from scoring_runtime.settings import Settings

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105
ENDPOINT_VARIABLE = "HF_ENDPOINT"
_ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/\s]+))?(?:/(?P<path>\S*))?", re.ASCII)
_NEXT = re.compile(r"<([^>]+)>\s*;[^,]*\brel=\"?next\"?")


def open_source(uri: str, settings: Settings) -> HubSource:
    """Open an hf:// address."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise SettingsInvalid(
            f"SCORING_MODEL_URI={uri!r}: write hf://OWNER/REPOSITORY, hf://OWNER/REPOSITORY@REVISION or "
            "hf://OWNER/REPOSITORY@REVISION/PATH; a slash in the revision is %2F"
        )
    token = os.environ.get(TOKEN_VARIABLE)
    denied = (
        f"the token in {TOKEN_VARIABLE} may not read it; if it is gated, accept its conditions on its page first"
        if token
        else "there is no such repository, or it is private or gated: name a Secret in model.credentials.secretName "
        f"with {TOKEN_VARIABLE}"
    )
    missing, stranger = "there is no such repository, revision or file", f"check {ENDPOINT_VARIABLE}"
    wording = Wording(uri, missing, denied, stranger)
    client = Client(wording, lambda: f"Bearer {token}" if token else None)
    return HubSource(client, found["repository"], unquote(found["revision"] or "main"), found["path"] or "")


class HubSource:
    """One revision of a repository, or a file or folder of it."""

    def __init__(self, client: Client, repository: str, revision: str, path: str) -> None:
        self._client = client
        self._endpoint = (os.environ.get(ENDPOINT_VARIABLE) or "https://huggingface.co").rstrip("/")
        self._repository = repository
        self._revision = revision
        self._path = path

    def listing(self) -> Listing:
        """See `Source.listing`."""
        repository = f"{self._endpoint}/api/models/{self._repository}"
        revision = self._client.json_object(f"{repository}/revision/{quote(self._revision, safe='')}")
        commit = self._client.text(revision, "sha")
        entries = {
            self._client.text(entry, "path"): entry
            for entry in self._entries(f"{repository}/tree/{commit}?recursive=true")
            if entry.get("type") == "file"
        }
        if self._path in entries:
            name = self._path.rpartition("/")[2]
            return Listing((self._file(entries[self._path], name, commit),), is_folder=False)
        prefix = f"{self._path.rstrip('/')}/" if self._path else ""
        files = tuple(
            self._file(entry, safe_path(path.removeprefix(prefix)), commit)
            for path, entry in sorted(entries.items())
            if path.startswith(prefix)
        )
        if not files:
            raise self._client.nothing()
        return Listing(files, is_folder=True)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return self._client.read(file.key, offset, pinned=True)

    def _entries(self, url: str) -> Iterator[dict[str, Any]]:
        page: str | None = url
        while page:
            body, headers = self._client.reply(page)
            found = self._client.parsed(body)
            if not isinstance(found, list):
                raise self._client.misunderstood()
            yield from map(self._client.fields, found)
            following = _NEXT.search(headers.get("Link") or "")
            page = urljoin(page, following[1]) if following else None
            if page and urlsplit(page)[:2] != urlsplit(url)[:2]:
                # It would be sent the token.
                raise self._client.misunderstood()

    def _file(self, entry: dict[str, Any], path: str, commit: str) -> RemoteFile:
        large = entry.get("lfs") or {}
        where = quote(self._client.text(entry, "path"))
        return RemoteFile(
            path, entry.get("size"), f"{self._endpoint}/{self._repository}/resolve/{commit}/{where}", large.get("oid")
        )
