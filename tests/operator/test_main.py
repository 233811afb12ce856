"""The process: how it starts, waits, works and ends. The operator is a real process, the API server a small HTTP one.

| situation                                 | what the process does                                   |
|-------------------------------------------|---------------------------------------------------------|
| wrong setting, no cluster configured      | one line, status 2                                      |
| API server away, CRD missing, forbidden   | says what to do, healthy, waits; SIGTERM ends it        |
| all is there                              | watches, applies, reports; SIGTERM ends it with status 0|
| health port taken, a watch dies           | one line, status 1                                      |
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from scoring_operator.__main__ import main
from scoring_operator.kinds import CHILDREN, SCORING_SERVICE, WATCHED
from scoring_operator.kube import ApiError, ApiUnavailableError, ForbiddenError, NotFoundError, UnauthorizedError
from scoring_operator.naming import MANAGED_SELECTOR
from scoring_operator.startup import what_is_missing
from tests.waiting import PATIENCE

IRIS = {
    "apiVersion": "scoring.dev/v1alpha1",
    "kind": "ScoringService",
    "metadata": {"name": "iris", "namespace": "team", "uid": "u", "generation": 1, "resourceVersion": "5"},
    "spec": {"model": {"uri": "s3://models/iris/3/", "framework": "sklearn"}},
}


class Api:
    """As much of an API server as the operator's start needs: discovery, lists, watches, and an answer to writes."""

    def __init__(self, services: list[dict[str, Any]], listing: int = 200) -> None:
        self.services = services
        self.listing = listing
        self.watches: list[tuple[str, str]] = []
        self.written: list[tuple[str, Any]] = []
        self.changed = asyncio.Event()
        self.gone = False
        self.ends = asyncio.Event()
        """Ends the watches."""
        self._versions = iter(range(100, 10_000))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return self._write(request.path, json.loads(await request.text()))
        if self.gone:
            return web.json_response({"message": "not found"}, status=404)
        if request.query.get("watch"):
            return await self._watch(request)
        discovered = self._discovery(request.path)
        if discovered is not None:
            return web.json_response(discovered)
        if self.listing != 200:
            return web.json_response({"message": "as told", "reason": "Told"}, status=self.listing)
        kind = next((kind for kind in WATCHED if request.path.endswith(f"/{kind.plural}")), None)
        if kind is None:
            return web.json_response({"message": "not found"}, status=404)
        items = self.services if kind is SCORING_SERVICE else []
        return web.json_response({"items": items, "metadata": {"resourceVersion": "50"}})

    def _write(self, path: str, body: dict[str, Any]) -> web.Response:
        self.written.append((path, body))
        self.changed.set()
        metadata = {**IRIS["metadata"], **body.get("metadata", {}), "resourceVersion": str(next(self._versions))}  # type: ignore[dict-item]
        metadata.setdefault("uid", metadata["resourceVersion"])
        return web.json_response({**(IRIS if path.endswith("/status") else {}), **body, "metadata": metadata})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watches.append((request.path, request.query.get("labelSelector", "")))
        self.changed.set()
        response = web.StreamResponse()
        await response.prepare(request)
        await self.ends.wait()
        return response

    def _discovery(self, path: str) -> dict[str, Any] | None:
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups = sorted({(kind.group, kind.version) for kind in WATCHED if kind.group})
            version = "version"
            return {
                "groups": [
                    {"name": group, "versions": [{version: v}], "preferredVersion": {version: v}} for group, v in groups
                ]
                + [{"name": "apiextensions.k8s.io", "versions": [{version: "v1"}], "preferredVersion": {version: "v1"}}]
            }
        parts = path.strip("/").split("/")
        group = "" if parts[0] == "api" else parts[1] if len(parts) == 3 else None
        if group is None or len(parts) != (2 if parts[0] == "api" else 3):
            return None
        kinds = [(kind.plural, kind.kind, kind.namespaced) for kind in WATCHED if kind.group == group]
        if group == "":
            kinds += [("namespaces", "Namespace", False), ("events", "Event", True)]
        if group == "apiextensions.k8s.io":
            kinds += [("customresourcedefinitions", "CustomResourceDefinition", False)]
        return {
            "resources": [
                {"name": plural, "kind": kind, "singularName": "", "namespaced": namespaced, "verbs": ["list", "watch"]}
                for plural, kind, namespaced in kinds
            ]
        }


@asynccontextmanager
async def served(api: Api, folder: Path) -> AsyncIterator[dict[str, str]]:
    """The API over HTTP, as the environment of an operator process whose health port is free."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield environment(folder, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def environment(folder: Path, port: int) -> dict[str, str]:
    config = folder / "kubeconfig"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
        f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}],"
        "users: [{name: u, user: {token: t}}]}"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCORING_OPERATOR_")}
    return {
        **kept,
        "KUBECONFIG": str(config),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SCORING_OPERATOR_HEALTH_PORT": "0",
        "SCORING_OPERATOR_RUNTIME_IMAGES": '{"sklearn": "sklearn:1"}',
    }


class Operator:
    """A running operator process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, words: str) -> dict[str, Any]:
        """The next log line that has these words."""
        assert self._process.stderr is not None
        said: list[bytes] = []
        while True:
            text = await asyncio.wait_for(self._process.stderr.readline(), PATIENCE)
            said.append(text)
            if not text:
                raise AssertionError(f"the operator ended without saying {words!r}, but:\n{b''.join(said).decode()}")
            if words.encode() in text:
                found: dict[str, Any] = json.loads(text)
                return found

    async def stop(self) -> int:
        """End it as kubelet does; the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), PATIENCE)

    async def status(self) -> int:
        """The exit status of one that ends by itself."""
        return await asyncio.wait_for(self._process.wait(), PATIENCE)


@asynccontextmanager
async def operator(variables: dict[str, str]) -> AsyncIterator[Operator]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scoring_operator", env=variables, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Operator(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_watches_works_and_ends_when_asked(tmp_path: Path) -> None:
    api = Api([IRIS])
    async with served(api, tmp_path) as variables, operator(variables) as running:
        while len(api.watches) < len(WATCHED) or not any(path.endswith("/status") for path, _ in api.written):
            api.changed.clear()
            await asyncio.wait_for(api.changed.wait(), PATIENCE)
        assert sorted(api.watches) == sorted((kind.path(), kind.selector) for kind in WATCHED)
        assert {selector for path, selector in api.watches if path in {kind.path() for kind in CHILDREN}} == {
            MANAGED_SELECTOR
        }
        applied = [body["kind"] for path, body in api.written if "status" not in path and "events" not in path]
        assert sorted(applied) == ["Deployment", "Secret", "Service", "ServiceAccount"]
        for path, body in api.written:
            if "/scoringservices/" in path:
                assert path.endswith("/iris/status"), "nothing but the status of a service is ever written"
                assert set(body) == {"metadata", "status"}
                assert set(body["metadata"]) == {"uid"}
        assert await running.stop() == 0


@pytest.mark.slow  # kopf gives what it has started five seconds to end
async def test_a_watch_that_dies_ends_the_process_with_one_line(tmp_path: Path) -> None:
    api = Api([])
    async with served(api, tmp_path) as variables, operator(variables) as running:
        while len(api.watches) < len(WATCHED):
            api.changed.clear()
            await asyncio.wait_for(api.changed.wait(), PATIENCE)
        api.gone = True
        api.ends.set()
        assert "the watches failed" in (await running.line("the operator ends"))["message"]
        assert await running.status() == 1


async def test_it_waits_for_what_is_missing_and_says_what(tmp_path: Path) -> None:
    async with served(Api([], listing=404), tmp_path) as variables, operator(variables) as running:
        line = await running.line("install the CustomResourceDefinition")
        assert line["level"] == "warning"
        assert await running.stop() == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotFoundError("x", 404), "scoringservices.scoring.dev: install the CustomResourceDefinition"),
        (ForbiddenError("cannot list secrets", 403), "lacks a permission (cannot list secrets): bind its ClusterRole"),
        (UnauthorizedError("x", 401), "renew the kubeconfig or the service account's token"),
        (ApiUnavailableError("did not answer"), "did not answer"),
        (ApiError("a teapot", 418), "cannot be listed (a teapot)"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(error: ApiError, words: str) -> None:
    assert words in what_is_missing(error)


async def test_it_waits_for_an_api_server_that_is_away_and_is_healthy_meanwhile(
    tmp_path: Path, unused_tcp_port_factory: Any
) -> None:
    port = unused_tcp_port_factory()
    variables = environment(tmp_path, unused_tcp_port_factory()) | {"SCORING_OPERATOR_HEALTH_PORT": str(port)}
    async with operator(variables) as running, aiohttp.ClientSession() as session:
        await running.line("working for")
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert "scoring_operator_queue_waiting 0.0" in await answer.text()
        await running.line("did not answer")

        async with operator(variables) as second:
            assert "address already in use" in (await second.line("the operator ends"))["message"]
            assert await second.status() == 1
        assert await running.stop() == 0


def test_a_wrong_setting_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCORING_OPERATOR_WORKER", "3")
    assert main() == 2
    assert capsys.readouterr().err.startswith("SCORING_OPERATOR_WORKER is not a setting")


def test_without_a_cluster_it_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/kubeconfig")
    monkeypatch.setenv("SCORING_OPERATOR_HEALTH_PORT", "0")
    monkeypatch.setattr("scoring_operator.__main__.configure", lambda _: None)  # would replace the test's own logging
    assert main() == 2
    assert "no Kubernetes to work for" in caplog.messages[-1]
