"""Real servers of models for the slow tests; `make emulators` installs them."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from devcluster import emulators, tools
from devcluster.paths import Paths
from tests.runtime.conftest import free_port
from tests.runtime.gate import Forward
from tests.runtime.model_stores import (
    AZURE_ACCOUNT,
    AZURE_KEY,
    IMAGE_MANIFEST,
    AzureAddresses,
    GoogleAddresses,
    MlflowAddresses,
    OciAddresses,
    connection,
    manifest_of,
    titled,
)


class Emulator:
    """A server at the address `base`."""

    has_files: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    def __init__(self, base: str) -> None:
        self.base = base
        self.behind = Forward(base)


class GoogleStorageServer(GoogleAddresses, Emulator):
    """fake-gcs-server with a bucket named models."""

    def put(self, path: str, content: bytes) -> None:
        send(self.base, "POST", f"/upload/storage/v1/b/models/o?uploadType=media&name={quote(path, safe='')}", content)


class Azurite(AzureAddresses, Emulator):
    """Azurite with a container named models; it verifies signatures and tokens."""

    def put(self, path: str, content: bytes) -> None:
        self._container().upload_blob(path, content, overwrite=True)

    def make_container(self) -> None:
        self._container().create_container()

    def _container(self) -> Any:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(connection(self.base)).get_container_client("models")


@contextmanager
def google_storage(_: Path) -> Iterator[GoogleStorageServer]:
    port = free_port()
    flags = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    with serving([*emulators.google_storage(Paths.from_environment()), *flags], port) as base:
        send(base, "POST", "/storage/v1/b?project=test", b'{"name": "models"}')
        yield GoogleStorageServer(base)


@contextmanager
def azurite(_: Path) -> Iterator[Azurite]:
    port = free_port()
    flags = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    accounts = {"AZURITE_ACCOUNTS": f"{AZURE_ACCOUNT}:{AZURE_KEY}"}
    with serving([*emulators.azurite(Paths.from_environment()), *flags, *where], port, accounts) as base:
        store = Azurite(base)
        store.make_container()
        yield store


@contextmanager
def serving(command: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server until the end of the block; gives its address when it answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 600
            while not _answers(port):
                assert process.poll() is None, os.pread(log.fileno(), 4000, 0).decode()
                assert time.monotonic() < until, f"{command[0]} does not answer"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def send(base: str, method: str, target: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    connection = HTTPConnection(urlsplit(base).netloc, timeout=60)
    try:
        connection.request(method, target, body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = response.read()
        assert response.status < 300, (response.status, answer)
        return answer
    finally:
        connection.close()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


class MlflowServer(MlflowAddresses, Emulator):
    """A real MLflow server that hands out its artifacts."""

    def __init__(self, base: str, python: str) -> None:
        super().__init__(base)
        self.python = python
        self._runs: dict[str, tuple[str, str]] = {}
        self._versions: dict[str, int] = {}

    def put(self, path: str, content: bytes) -> None:
        name, version, _ = path.split("/", 2)
        if name not in self._runs:
            run = self._call("runs/create", {"experiment_id": "0"})["run"]["info"]
            self._runs[name] = run["run_id"], run["artifact_uri"]
            self._versions[name] = 0
            self._call("registered-models/create", {"name": name})
        run_id, artifacts = self._runs[name]
        inside = path.removeprefix(f"{name}/")
        where = f"{artifacts.removeprefix('mlflow-artifacts:/')}/{quote(inside)}"
        send(self.base, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/{where}", content)
        while self._versions[name] < int(version):
            self._versions[name] += 1
            version_of_run = {"name": name, "source": f"{artifacts}/{self._versions[name]}", "run_id": run_id}
            self._call("model-versions/create", version_of_run)

    def _call(self, call: str, body: Mapping[str, str]) -> Any:
        answer = send(self.base, "POST", f"/api/2.0/mlflow/{call}", json.dumps(body).encode(), "application/json")
        return json.loads(answer)


@contextmanager
def mlflow(folder: Path) -> Iterator[MlflowServer]:
    port = free_port()
    (python,) = emulators.mlflow(Paths.from_environment())
    flags = ["--backend-store-uri", f"sqlite:///{folder}/registry.db", "--artifacts-destination", f"{folder}/artifacts"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts"]
    with serving([python, "-m", "mlflow", "server", *flags, *where], port) as base:
        yield MlflowServer(base, python)


class RegistryServer(OciAddresses, Emulator):
    """The real registry, also the devcluster's."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self.host = urlsplit(base).netloc
        self._files: dict[str, dict[str, bytes]] = {}

    def put(self, path: str, content: bytes) -> None:
        repository, tag, name = path.split("/", 2)
        files = self._files.setdefault(f"{repository}/{tag}", {})
        files[name] = content
        layers = [titled(each, files[each]) for each in sorted(files)]
        self.push_blob(repository, content)
        self.push_blob(repository, b"{}")
        self.push_manifest(repository, tag, manifest_of(layers))

    def push_blob(self, repository: str, content: bytes) -> None:
        """Upload a layer or a configuration in one request, as the specification has it."""
        connection = HTTPConnection(urlsplit(self.base).netloc, timeout=60)
        try:
            connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
            response = connection.getresponse()
            response.read()
            where = urlsplit(str(response.getheader("Location")))
        finally:
            connection.close()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        target = f"{where.path}?{where.query}{'&' if where.query else ''}digest={digest}"
        send(self.base, "PUT", target, content)

    def push_manifest(self, repository: str, reference: str, manifest: bytes, kind: str = IMAGE_MANIFEST) -> None:
        send(self.base, "PUT", f"/v2/{repository}/manifests/{reference}", manifest, kind)

    @property
    def sha256(self) -> str:
        files = self._files["iris/3"]
        return hashlib.sha256(manifest_of([titled(name, files[name]) for name in sorted(files)])).hexdigest()


@contextmanager
def registry(folder: Path) -> Iterator[RegistryServer]:
    port = free_port()
    paths = Paths.from_environment()
    tools.ensure(paths, tools.REGISTRY)
    configuration = folder / "config.yaml"
    storage = f"storage: {{filesystem: {{rootdirectory: {folder}/blobs}}}}"
    configuration.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    with serving([str(tools.location(paths, "registry")), "serve", str(configuration)], port) as base:
        yield RegistryServer(base)
