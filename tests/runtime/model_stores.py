"""Stores of models for the tests: small servers of this process that speak the parts of each API that a fetch uses.

The real servers, for the slow tests, are in emulators.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.runtime.gate import LARGE_BYTES, Answer, Asked, Behind

AZURE_ACCOUNT = "demo"
AZURE_KEY = base64.b64encode(b"a key of an account").decode()


class Store(Protocol):
    """Somewhere models can be, and how a fetch gets there."""

    has_files: bool
    """Whether a file has an address of its own."""
    resumes: bool
    """Whether it can send the end of a file alone."""

    def put(self, path: str, content: bytes) -> None: ...

    def uri(self, path: str) -> str:
        """The address of a file, or with a slash at its end of a folder."""

    def environment(self, base: str) -> Mapping[str, str]:
        """What the Secret holds, for a store that is reached at `base`."""

    @property
    def behind(self) -> Behind: ...


@dataclass
class InProcess:
    has_files: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    files: dict[str, bytes] = field(default_factory=dict)

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content

    @property
    def behind(self) -> Behind:
        return self  # type: ignore[return-value]


class GoogleAddresses:
    def uri(self, path: str) -> str:
        return f"gs://models/{path}"

    def environment(self, base: str) -> Mapping[str, str]:
        return {"STORAGE_EMULATOR_HOST": base}


class GoogleStorage(GoogleAddresses, InProcess):
    """The JSON API of Google Cloud Storage; two entries a page."""

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


class AzureAddresses:
    def uri(self, path: str) -> str:
        return f"az://models/{path}"

    def environment(self, base: str) -> Mapping[str, str]:
        return {"AZURE_STORAGE_CONNECTION_STRING": connection(base)}


def connection(base: str, key: str = AZURE_KEY) -> str:
    """How Azure's libraries are told an account and its key."""
    parts = {"AccountName": AZURE_ACCOUNT, "AccountKey": key, "BlobEndpoint": f"{base}/{AZURE_ACCOUNT}"}
    return ";".join(f"{name}={value}" for name, value in parts.items())


class AzureBlobs(AzureAddresses, InProcess):
    """The REST API of Azure Blob Storage; two entries a page."""

    def answer(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.target).query)
        container, _, name = unquote(asked.path).removeprefix(f"/{AZURE_ACCOUNT}/").partition("/")
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


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub(InProcess):
    """The Hugging Face Hub's API: the branch main of org/models, two files a page, large files on another host."""

    def uri(self, path: str) -> str:
        return f"hf://org/models/{path}"

    def environment(self, base: str) -> Mapping[str, str]:
        return {"HF_ENDPOINT": base}

    def answer(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.target).query)
        path = unquote(asked.path)
        if path == "/api/models/org/models/revision/main":
            return Answer(200, json.dumps({"sha": COMMIT, "id": "org/models"}).encode())
        if path == f"/api/models/org/models/tree/{COMMIT}":
            assert query["recursive"] == ["true"]
            return self._page(asked.headers["host"], int(query.get("cursor", ["0"])[0]))
        for prefix in (f"/org/models/resolve/{COMMIT}/", "/storage/"):
            content = self.files.get(path.removeprefix(prefix))
            if path.startswith(prefix) and content is not None:
                if len(content) >= LARGE_BYTES and prefix != "/storage/":
                    storage = asked.headers["host"].replace("127.0.0.1", "localhost")
                    name = quote(path.removeprefix(prefix))
                    return Answer(302, b"", {"Location": f"http://{storage}/storage/{name}?X-Amz-Signature=s3cret"})
                return Answer(200, content, {"x-ranges": ""})
        return Answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _page(self, host: str, first: int) -> Answer:
        names = sorted(self.files)
        entries = [{"type": "directory", "oid": "1", "size": 0, "path": "iris"}]
        entries += [self._entry(name) for name in names[first : first + 2]]
        more = f"http://{host}/api/models/org/models/tree/{COMMIT}?recursive=true&cursor={first + 2}"
        headers = {"Link": f'<{more}>; rel="next"'} if names[first + 2 :] else {}
        return Answer(200, json.dumps(entries).encode(), headers)

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files[name]
        entry: dict[str, object] = {"type": "file", "oid": "1", "size": len(content), "path": name}
        if len(content) >= LARGE_BYTES:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return entry


class MlflowAddresses:
    has_files = False
    resumes = False

    def uri(self, path: str) -> str:
        return f"models:/{path.rstrip('/')}"

    def environment(self, base: str) -> Mapping[str, str]:
        return {"MLFLOW_TRACKING_URI": base}


class ModelRegistry(MlflowAddresses, InProcess):
    """An MLflow server that hands out its artifacts; the folder NAME/VERSION holds those of a version."""

    artifacts = "mlflow-artifacts:/"

    def answer(self, asked: Asked) -> Answer:
        query = {name: values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}
        call, _, path = unquote(asked.path).removeprefix("/api/2.0/").partition("/artifacts/")
        if path:
            return Answer(200, self.files[path])
        if call == "mlflow-artifacts/artifacts":
            return Answer(200, json.dumps({"files": self._entries(query["path"].strip("/") + "/")}).encode())
        if call == "mlflow/registered-models/alias":
            if query["alias"] != "champion":
                return Answer(400, _mlflow_error("INVALID_PARAMETER_VALUE", "Registered model alias not found."))
            return Answer(200, b'{"model_version": {"name": "iris", "version": "3"}}')
        assert call == "mlflow/model-versions/get-download-uri"
        folder = f"{query['name']}/{query['version']}"
        if not any(name.startswith(folder + "/") for name in self.files):
            return Answer(404, _mlflow_error("RESOURCE_DOES_NOT_EXIST", "Model Version not found"))
        return Answer(200, json.dumps({"artifact_uri": f"{self.artifacts}{folder}"}).encode())

    def _entries(self, prefix: str) -> list[dict[str, object]]:
        below = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
        folders = sorted({name.partition("/")[0] for name in below if "/" in name})
        plain = [
            {"path": name, "is_dir": False, "file_size": len(self.files[prefix + name])}
            for name in below
            if "/" not in name
        ]
        return [*plain, *({"path": name, "is_dir": True} for name in folders)]


def _mlflow_error(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()


IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY_CONFIG = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}",
    "size": 2,
}


def titled(path: str, content: bytes, **annotations: str) -> dict[str, object]:
    """The layer of an artifact that is one file."""
    title = {"org.opencontainers.image.title": path, **annotations}
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content), "annotations": title}


def manifest_of(layers: Sequence[object], config: object = EMPTY_CONFIG) -> bytes:
    document = {"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config, "layers": layers}
    return json.dumps(document).encode()


class OciAddresses:
    """The folder REPOSITORY/TAG is an artifact of its files. Addresses have the host at which it is reached."""

    has_files = False
    host = ""

    def uri(self, path: str) -> str:
        repository, tag = path.split("/")[:2]
        return f"oci://{self.host}/{repository}:{tag}"

    def environment(self, base: str) -> Mapping[str, str]:
        self.host = urlsplit(base).netloc
        return {}


class ContainerRegistry(OciAddresses, InProcess):
    """An OCI registry."""

    @property
    def sha256(self) -> str:
        """The digest of iris:3."""
        return hashlib.sha256(self.manifest("iris/3/")).hexdigest()

    def manifest(self, folder: str) -> bytes:
        found = {name.removeprefix(folder): self.files[name] for name in sorted(self.files) if name.startswith(folder)}
        return manifest_of([titled(name, content) for name, content in found.items()])

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/v2/":
            return Answer(200, b"{}")
        repository, kind, reference = asked.path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "manifests":
            assert IMAGE_MANIFEST in asked.headers["accept"]
            if any(name.startswith(f"{repository}/{reference}/") for name in self.files):
                return Answer(200, self.manifest(f"{repository}/{reference}/"), {"Content-Type": IMAGE_MANIFEST})
        for content in self.files.values() if kind == "blobs" else ():
            if reference == f"sha256:{hashlib.sha256(content).hexdigest()}":
                return Answer(200, content, {"x-ranges": ""})
        return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')
