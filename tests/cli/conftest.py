"""A small API server over HTTP, so that the commands run with the official client and a real kubeconfig."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from click.testing import CliRunner


class ApiServer:
    """Objects by URL path; GET reads one, PATCH merges into one unless its resourceVersion has moved on."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.forbidden: set[str] = set()
        self.before_patch: list[Any] = []

    def add_keys(self, service: str, namespace: str = "team-a", **keys: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/secrets/{service}-keys"
        self.objects[path] = {
            "metadata": {"name": f"{service}-keys", "namespace": namespace, "resourceVersion": "1"},
            "data": {slot: base64.b64encode(key.encode()).decode() for slot, key in keys.items()},
        }
        return path

    def add_service(self, name: str, status: dict[str, Any], generation: int = 1, **spec: Any) -> None:
        self.objects[f"/apis/scoring.dev/v1alpha1/namespaces/team-a/scoringservices/{name}"] = {
            "metadata": {"name": name, "namespace": "team-a", "generation": generation},
            "spec": spec,
            "status": status,
        }

    def keys(self, path: str) -> dict[str, str]:
        return {slot: base64.b64decode(value).decode() for slot, value in self.objects[path]["data"].items()}

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path in self.forbidden:
            return 403, {"message": "forbidden", "code": 403}
        if path not in self.objects:
            return 404, {"message": "not found", "code": 404}
        if method == "PATCH":
            for interference in self.before_patch:
                interference(self.objects[path])
            metadata = self.objects[path]["metadata"]
            if body["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
                return 409, {"message": "the object has been modified", "code": 409}
            self.objects[path]["data"] |= body["data"]
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        return 200, self.objects[path]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An API server that the current kubeconfig points at, with `team-a` as the current namespace."""
    state = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            code, answer = state.answer(self.command, self.path.partition("?")[0], body)
            payload = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_PATCH = do_GET  # noqa: N815 - the name that http.server asks for

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    _point_kubeconfig_at(server.server_address[1], tmp_path / "kubeconfig", monkeypatch)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def _point_kubeconfig_at(port: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = [
        {"name": "here", "context": {"cluster": "test", "user": "me", "namespace": "team-a"}},
        {"name": "elsewhere", "context": {"cluster": "test", "user": "me", "namespace": "team-b"}},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": contexts,
        "current-context": "here",
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()
