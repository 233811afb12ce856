"""A real Envoy with the operator's files, in front of small real servers, all on 127.0.0.1.

The files come out of the operator as they are; only addresses are put in the place of names and fixed ports. They are
laid out and replaced as kubelet does it with a ConfigMap: one link changes, and all files are new at once.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from scoring_operator.envoy import BOOTSTRAP_FILE, FOLDER, router_files
from scoring_operator.envoy.bootstrap import ADMIN_PORT
from scoring_operator.resources.environment import GRPC_PORT, METRICS_PORT, PORT
from scoring_operator.spec import Model, RequestSettings, ScoringService, Version
from scoring_operator.traffic import Live, Traffic, plan_traffic
from tests.waiting import PATIENCE, until

ENVOY = str(resources.files("envoy") / "_bin" / "envoy")
SCORE = "/score"
IRIS = Model("s3://models/iris/1/", "sklearn")
PATIENT = RequestSettings(timeout_seconds=2 * PATIENCE)


def scoring_service(*versions: dict[str, Any], **fields: Any) -> ScoringService:
    """A service with versions v1, v2, …, the first of which is the default; patient, however slow the machine is."""
    made = tuple(
        Version(**{"name": f"v{number}", "model": IRIS, "default": number == 1, "request_settings": PATIENT, **spec})
        for number, spec in enumerate(versions, start=1)
    )
    return ScoringService("iris", "team", "uid", 1, made, **fields)


def all_ready(service: ScoringService) -> Traffic:
    """Where the requests go while every version and the router are ready."""
    return plan_traffic(service.versions, Live(ready=[version.name for version in service.versions], router_ready=True))


class Answer(NamedTuple):
    """What a caller gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        """What the JSON of an error says."""
        found: dict[str, str] = json.loads(self.body)["error"]
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


class Backend:
    """One pod of a version: answers every POST, and remembers what it was asked."""

    def __init__(self, port: int = 0) -> None:
        self.bodies: Counter[bytes] = Counter()
        self.headers: list[Mapping[str, str]] = []
        self.status, self.seconds = 200, 0.0
        """What it answers with, and how long that takes."""
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Semaphore(0)
        """Released by each request that has arrived."""
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                backend.bodies[body] += 1
                backend.headers.append(dict(self.headers))
                backend.entered.release()
                assert backend.free.wait(PATIENCE)
                time.sleep(backend.seconds)
                self.send_response(backend.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None: ...

        self.server = _Server(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def count(self) -> int:
        """Requests so far."""
        return self.bodies.total()

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


def reserved_port() -> socket.socket:
    """A socket that keeps its port from everybody but a program that is told the number; connecting is refused."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])


Ports = Mapping[str, int | Sequence[int]]
"""Version → the port of its pod, or of its pods."""


class Router:
    """A running Envoy. `pods` and `services` are the ports of a version's pods and of its Service."""

    def __init__(self, folder: Path, pods: Ports, services: Ports | None = None) -> None:
        self.folder = folder
        self._held = {port: reserved_port() for port in (PORT, METRICS_PORT, ADMIN_PORT, GRPC_PORT)}
        self.port, self.own_port, self.admin_port, self.grpc_port = (port_of(held) for held in self._held.values())
        self._nobody = reserved_port()
        self._ends = [dict(pods), dict(services or {})]
        self._generation = 0
        self.log = folder / "stdout"

    def start(self, service: ScoringService, traffic: Traffic | None = None) -> "Router":
        """Write the files and wait until Envoy is ready."""
        self.update(service, traffic)
        for name in self.files:
            (self.folder / name).symlink_to(Path("..data") / name)
        command = [ENVOY, "-c", str(self.folder / BOOTSTRAP_FILE), "--disable-hot-restart", "--concurrency", "1"]
        with self.log.open("wb") as out, (self.folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen([*command, "--log-level", "warn"], stdout=out, stderr=err)
        until(self._is_ready, "Envoy is ready")
        return self

    def update(self, service: ScoringService, traffic: Traffic | None = None) -> None:
        """Replace all files at once."""
        self.files = router_files(service, traffic or all_ready(service))
        self._generation += 1
        data = self.folder / f"..{self._generation}"
        data.mkdir()
        for name, text in self.files.items():
            (data / name).write_text(self._placed(name, text))
        link = self.folder / "..data_tmp"
        link.symlink_to(data.name)
        link.replace(self.folder / "..data")

    def change(self, service: ScoringService, traffic: Traffic | None = None) -> None:
        """Replace all files, and wait until Envoy goes by them."""
        self.update(service, traffic)
        versions = {json.loads(self.files[name])["version_info"] for name in self.files if name[:3] in ("rds", "cds")}
        until(lambda: versions <= self._versions(), "Envoy has taken up the files")
        for _ in range(2):  # what its main thread knows, the other knows when it has been round once more
            assert self.own("/readyz")[0] == 200

    def post(self, body: bytes = b"{}", path: str = SCORE, **headers: str) -> Answer:
        """Send one request on a connection of its own; the answer has been read."""
        with self.connection() as connection:
            return send(connection, body, path, **headers)

    def connection(self) -> contextlib.closing[http.client.HTTPConnection]:
        """A connection that stays open between requests."""
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE))

    def own(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask the port of kubelet and Prometheus."""
        return self._ask(self.own_port, path, method)

    def admin(self, path: str) -> str:
        """Ask Envoy itself."""
        return self._ask(self.admin_port, path)[1]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        for held in (*self._held.values(), self._nobody):
            held.close()

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / "stderr").read_text()
        try:
            return self.own("/readyz")[0] == 200
        except OSError:
            return False

    def _versions(self) -> set[str]:
        found = json.loads(self.admin("/config_dump"))["configs"]
        clusters = {config.get("version_info", "") for config in found}
        routes = {
            route.get("version_info", "") for config in found for route in config.get("dynamic_route_configs", [])
        }
        return clusters | routes

    def _ask(self, port: int, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def _placed(self, name: str, text: str) -> str:
        """The file with the addresses of this machine."""
        text = text.replace(FOLDER, str(self.folder))
        if not name.endswith(".json"):
            return text.replace(str(ADMIN_PORT), str(self.admin_port))
        document = json.loads(text)
        if name == "cds.json":
            for cluster in document["resources"]:
                self._place_cluster(cluster)
        else:
            self._place(document)
        return json.dumps(document)

    def _place_cluster(self, cluster: dict[str, Any]) -> None:
        for end in cluster["load_assignment"]["endpoints"]:
            found = self._ends[end["priority"]].get(cluster["name"], port_of(self._nobody))
            end["lb_endpoints"] = [_endpoint(port) for port in ([found] if isinstance(found, int) else found)]

    def _place(self, value: Any) -> None:
        if isinstance(value, dict):
            if "port_value" in value:
                value.update(address="127.0.0.1", port_value=port_of(self._held[value["port_value"]]))
            for inner in value.values():
                self._place(inner)
        elif isinstance(value, list):
            for inner in value:
                self._place(inner)


def _endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}


def send(connection: http.client.HTTPConnection, body: bytes = b"{}", path: str = SCORE, **headers: str) -> Answer:
    """Send a request on this connection and read the answer."""
    connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def statically(files: Mapping[str, str]) -> dict[str, Any]:
    """All files as one bootstrap, for `envoy --mode validate`, which does not look at files that another one names."""
    documents = {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}
    routes = {name: document["resources"] for name, document in documents.items() if name.startswith("rds-")}
    assert all(len(found) == 1 for found in routes.values()), "Envoy takes one from a file"
    listeners = documents["lds.json"]["resources"]
    for listener in listeners:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        if "rds" in manager:
            file = manager.pop("rds")["config_source"]["path_config_source"]["path"].rpartition("/")[2]
            (manager["route_config"],) = routes[file]
    whole: dict[str, Any] = documents[BOOTSTRAP_FILE]
    del whole["dynamic_resources"]
    whole["static_resources"]["listeners"] = listeners
    whole["static_resources"]["clusters"] += documents["cds.json"]["resources"]
    for resource in [*listeners, *whole["static_resources"]["clusters"], *(found for (found,) in routes.values())]:
        resource.pop("@type", None)
    return whole


def validate(files: Mapping[str, str], folder: Path) -> str:
    """What Envoy says against the files; empty when nothing."""
    bootstrap = folder / "static.json"
    bootstrap.write_text(json.dumps(statically(files)))
    command = [ENVOY, "--mode", "validate", "-c", str(bootstrap), "--disable-hot-restart", "--log-level", "warn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=dict(os.environ))
    return "" if done.returncode == 0 and "warning" not in done.stderr else done.stderr
