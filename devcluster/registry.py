"""The local OCI registry: images travel to the node layer by layer, so a code change moves only its last layer."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml

from devcluster import components, configuration, layout
from devcluster.commands import Command, run, wait_until
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.processes import ProcessTable, terminate
from devcluster.teardown import daemons_of

MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def port(paths: Paths) -> int:
    """The port in use, or the one that the registry would get: 5000, or a free one where 5000 is taken."""
    record = paths.registry / "port.json"
    try:
        return int(json.loads(record.read_text()))
    except (OSError, ValueError):
        return layout.REGISTRY_PORT


def host(paths: Paths) -> str:
    """The registry's host and port, as they stand in image references."""
    return f"{layout.LOOPBACK}:{port(paths)}"


def start(paths: Paths, table: ProcessTable) -> None:
    """Start the registry unless it runs, and wait until it answers."""
    if table.living("registry"):
        return
    paths.registry.mkdir(parents=True, exist_ok=True)
    number = port(paths)
    # One of ours whose process-id file is lost would make the port look taken.
    terminate(daemons_of(paths, ["registry"]), grace=2)
    if not _free(number):
        number = _any_free_port()
        (paths.registry / "port.json").write_text(json.dumps(number))
    table.start(components.registry(paths, _configured(paths, number)))

    def answers() -> bool:
        if not table.living("registry"):
            raise DevclusterError(table.explain("registry"))
        return _status(paths, "GET", "/v2/") == http.client.OK

    wait_until(answers, timeout=20, what="the registry does not answer")


@contextmanager
def stopped(paths: Paths, table: ProcessTable) -> Iterator[None]:
    """Stop the registry and start it again afterwards, if it ran; a pull of the kubelet meanwhile is tried again."""
    ran = table.living("registry") is not None
    table.stop(["registry"])
    terminate(daemons_of(paths, ["registry"]), grace=2)
    try:
        yield
    finally:
        if ran:
            start(paths, table)


def collect_garbage(paths: Paths) -> None:
    """Remove manifests without a tag and blobs that no manifest refers to. The registry must not run."""
    config = _configured(paths, port(paths))
    program = components.registry(paths, config)
    collect = [program.argv[0], "garbage-collect", "--delete-untagged", "--quiet", config]
    run(Command(collect, env=program.env))


def holds(paths: Paths, reference: str) -> bool:
    """Whether the registry has the image; `reference` is host:port/name:tag of this registry."""
    name, _, tag = reference.removeprefix(f"{host(paths)}/").rpartition(":")
    return _status(paths, "HEAD", f"/v2/{name}/manifests/{tag}") == http.client.OK


def _status(paths: Paths, method: str, path: str) -> int:
    with closing(http.client.HTTPConnection(layout.LOOPBACK, port(paths), timeout=10)) as connection:
        try:
            connection.request(method, path, headers={"Accept": MANIFEST_TYPES})
            return connection.getresponse().status
        except OSError:
            return 0


def _configured(paths: Paths, number: int) -> Path:
    config = paths.registry / "config.yaml"
    config.write_text(yaml.safe_dump(configuration.registry(paths, number)))
    return config


def _free(number: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((layout.LOOPBACK, number))
        except OSError:
            return False
        return True


def _any_free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((layout.LOOPBACK, 0))
        number: int = probe.getsockname()[1]
        return number
