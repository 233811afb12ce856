"""models:/name/version and models:/name@alias: a model of the MLflow registry at MLFLOW_TRACKING_URI.

The registry says where a version's artifacts are: in a store of another scheme, which is then read with the same
Secret, or at the server itself, which hands them out (`mlflow-artifacts:`). Access to the server is by
`MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, as MLflow's library takes them.
The API is that of https://mlflow.org/docs/latest/rest-api.html.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from scoring_runtime.errors import ModelNotFound, ModelSourceUnavailable, SettingsInvalid
from scoring_runtime.fetch.client import Client, Wording
from scoring_runtime.fetch.source import Listing, RemoteFile, Source, safe_path, shown
from scoring_runtime.settings import Settings

SERVER, TOKEN, USER, PASSWORD = (f"MLFLOW_TRACKING_{part}" for part in ("URI", "TOKEN", "USERNAME", "PASSWORD"))
STORES = ("s3", "gs", "az", "abfs", "abfss", "hf")
"""Where a registry may send a fetch. Not to files: it would choose which of the pod's are read. Not to any web server:
it would choose who gets the token for one, and no folder can be fetched from there."""
_ADDRESS = re.compile(r"models:/(?P<name>[^/@\s]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@\s]+))")
_MAX_DEPTH = 32


def open_source(uri: str, settings: Settings) -> RegisteredModel:
    """Open a models: address."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise SettingsInvalid(
            f"SCORING_MODEL_URI={uri!r}: write models:/NAME/VERSION with a number, or models:/NAME@ALIAS"
        )
    server = (os.environ.get(SERVER) or "").rstrip("/")
    if urlsplit(server).scheme not in ("http", "https"):
        raise SettingsInvalid(
            f"{SERVER} must be the http(s):// address of an MLflow server; put it into the Secret that "
            "model.credentials.secretName names, or into pod.env"
        )
    authorization = _authorization(os.environ)
    wording = Wording(
        uri,
        f"{shown(server)} knows no such model, version or alias",
        f"{shown(server)} does not accept the credentials"
        if authorization
        else f"there are no credentials: put {USER} and {PASSWORD} (or a token of that server) into the Secret",
        f"check {SERVER}",
    )
    return RegisteredModel(_Registry(Client(wording, lambda: authorization), server), found, settings)


class RegisteredModel:
    """One version of a registered model; an alias is resolved when it is listed."""

    def __init__(self, registry: _Registry, address: re.Match[str], settings: Settings) -> None:
        self._registry = registry
        self._address = address
        self._settings = settings
        self._artifacts: Source | None = None

    def listing(self) -> Listing:
        """See `Source.listing`."""
        if self._artifacts is None:
            name = unquote(self._address["name"])
            version = self._address["version"] or self._registry.version_of(name, unquote(self._address["alias"]))
            self._artifacts = self._opened(self._registry.artifacts_of(name, version))
        return self._artifacts.listing()

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        assert self._artifacts is not None
        return self._artifacts.read(file, offset)

    def _opened(self, uri: str) -> Source:
        from scoring_runtime.fetch import SCHEMES

        # Azure's own name for the same store.
        uri = re.sub(r"^wasb(s?)://", r"abfs\1://", uri)
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts" and not parts.netloc:
            return ServedArtifacts(self._registry, parts.path.strip("/"))
        if parts.scheme in STORES:
            return SCHEMES[parts.scheme](uri.rstrip("/") + "/", self._settings)
        raise ModelNotFound(
            f"{self._address[0]} has its artifacts at {shown(uri)}, which a pod cannot reach: start the MLflow server "
            "with --serve-artifacts, or with a store such as s3:// for its artifacts"
        )


class ServedArtifacts:
    """A folder of artifacts that the MLflow server itself hands out. It cannot start in the middle of a file."""

    def __init__(self, registry: _Registry, path: str) -> None:
        self._registry = registry
        self._path = path

    def listing(self) -> Listing:
        """See `Source.listing`."""
        files = tuple(self._below(""))
        if not files:
            raise ModelNotFound(f"404 on {self._registry.client.wording.address}; its folder of artifacts is empty")
        return Listing(files, is_folder=True)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """See `Source.read`."""
        return self._registry.client.read(file.key, offset)

    def _below(self, folder: str, depth: int = 0) -> Iterator[RemoteFile]:
        if depth > _MAX_DEPTH:
            raise ModelSourceUnavailable(f"{self._registry.client.wording.address} has folders without an end")
        artifacts = f"{self._registry.server}/api/2.0/mlflow-artifacts/artifacts"
        found = self._registry.ask(artifacts, {"path": f"{self._path}/{folder}".rstrip("/")})
        for entry in found.get("files") or ():
            # Servers give the name alone, or the path below the folder that was asked for.
            name = self._registry.client.text(entry, "path").rpartition("/")[2]
            path = safe_path(f"{folder}/{name}" if folder else name)
            if entry.get("is_dir"):
                yield from self._below(path, depth + 1)
            else:
                size = entry.get("file_size")
                yield RemoteFile(
                    path, None if size is None else int(size), f"{artifacts}/{quote(f'{self._path}/{path}')}"
                )


class _Registry:
    """The server's calls that a fetch makes."""

    def __init__(self, client: Client, server: str) -> None:
        self.client = client
        self.server = server

    def version_of(self, name: str, alias: str) -> str:
        found = self.ask(f"{self.server}/api/2.0/mlflow/registered-models/alias", {"name": name, "alias": alias})
        return self.client.text(found.get("model_version"), "version")

    def artifacts_of(self, name: str, version: str) -> str:
        call = f"{self.server}/api/2.0/mlflow/model-versions/get-download-uri"
        return self.client.text(self.ask(call, {"name": name, "version": version}), "artifact_uri")

    def ask(self, url: str, query: Mapping[str, str]) -> dict[str, Any]:
        return self.client.json_object(f"{url}?{urlencode(query)}")


def _authorization(environment: Mapping[str, str]) -> str | None:
    if environment.get(TOKEN):
        return f"Bearer {environment[TOKEN]}"
    if environment.get(USER):
        pair = f"{environment[USER]}:{environment.get(PASSWORD, '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None
