"""Brings the cluster up: idempotent, quick when it runs, and able to start over from whatever a dead one left."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from devcluster import addons, certificates, components, configuration, layout, network, registry, teardown, tools
from devcluster.commands import Command, run, wait_until
from devcluster.containers import Containerd
from devcluster.errors import DevclusterError
from devcluster.paths import PACKAGE, Paths
from devcluster.processes import Daemon, ProcessTable
from devcluster.progress import say, step

SOCKET_PATH_LIMIT = 100
"""unix(7) allows 107 bytes; some of the kubelet's sockets have longer names than containerd's."""

DAEMONS: dict[str, Callable[[Paths], Daemon]] = {
    "containerd": components.containerd,
    "etcd": components.etcd,
    "kube-apiserver": components.kube_apiserver,
    "kube-controller-manager": components.kube_controller_manager,
    "kube-scheduler": components.kube_scheduler,
    "kube-proxy": components.kube_proxy,
    "kubelet": components.kubelet,
}
RESTARTED_FOR_CONFIGURATION = ("kube-proxy", "kubelet", "kube-scheduler", "kube-controller-manager")
"""Stopped when a file changed below a running cluster, as after an update of this package; pods keep running."""

PORTS = {
    "etcd": (layout.LOOPBACK, layout.ETCD_PORT),
    "kube-apiserver": (layout.NODE_ADDRESS, layout.API_PORT),
    "kube-controller-manager": (layout.LOOPBACK, 10257),
    "kube-scheduler": (layout.LOOPBACK, 10259),
    "kube-proxy": (layout.LOOPBACK, 10256),
    "kubelet": (layout.NODE_ADDRESS, 10250),
}


def process_table(paths: Paths) -> ProcessTable:
    """The daemons of this cache folder."""
    return ProcessTable(paths.processes, paths.logs)


@contextmanager
def exclusive(paths: Paths, what: str = "cluster") -> Iterator[None]:
    """Hold the lock of whoever changes the cluster, or builds images, waiting for another holder to end."""
    folder = paths.locks
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / what).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("  waiting for another devcluster command to end ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(paths: Paths) -> None:
    """Bring the cluster up and wait until the node, DNS and the ingress controller answer."""
    check_machine(paths)
    with exclusive(paths):
        tools.ensure(paths, *tools.CLUSTER)
        table = process_table(paths)
        _clear_remains(paths, table)
        with step("images of DNS and ingress controller"):
            addons.node_images(paths)
        with step("network"):
            paths.cluster.mkdir(parents=True, exist_ok=True)
            network.set_up(paths)
        registry.start(paths, table)
        with step("keys and configuration"):
            certificates.write_all(paths.pki)
            if configuration.write_all(paths, registry.port(paths)):
                table.stop(RESTARTED_FOR_CONFIGURATION)
        _start_daemons(paths, table)
        with step("DNS and ingress controller applied"):
            addons.apply(paths)
        with step("node, DNS and ingress controller answer"):
            _wait_until_serving(paths, table)


def is_running(paths: Paths) -> bool:
    """Whether every daemon runs and the API server is ready."""
    table = process_table(paths)
    return all(table.living(name) for name in DAEMONS) and api_ready(paths)


def api_ready(paths: Paths) -> bool:
    """Whether the API server says it is ready."""
    return _api_get(paths, "/readyz") is not None


def node_ready(paths: Paths) -> bool:
    """Whether the node's Ready condition is true."""
    body = _api_get(paths, f"/api/v1/nodes/{layout.NODE_NAME}")
    if body is None:
        return False
    conditions: list[dict[str, Any]] = json.loads(body)["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def check_machine(paths: Paths) -> None:
    """Install the Debian packages that are missing; refuse a machine on which the cluster cannot run."""
    if os.geteuid() != 0:
        raise DevclusterError("the embedded cluster needs root (mounts, namespaces, nftables); run it with sudo -E")
    if len(str(paths.containerd_socket)) > SOCKET_PATH_LIMIT:
        raise DevclusterError(
            f"the path {paths.cache} is too long for unix sockets; set DEVCLUSTER_CACHE to a shorter one"
        )
    script = PACKAGE / "system-packages.sh"
    with exclusive(paths, "packages"), step("Debian packages"):
        message = run(Command(["bash", script, "cluster"]))
    if message:
        say(f"  {message.strip()}")


def _clear_remains(paths: Paths, table: ProcessTable) -> None:
    """After a reboot or a kill of everything: start over, since mounts and containers of then are worth nothing."""
    if any(table.living(name) for name in DAEMONS):
        return
    if paths.cluster.exists() or teardown.has_leftovers(paths):
        with step("cleared what an earlier cluster left", always=True):
            teardown.remove_cluster(paths, table)


def _start_daemons(paths: Paths, table: ProcessTable) -> None:
    for name, (host, port) in PORTS.items():
        if not table.living(name):
            _check_port(name, host, port)
    with step("containerd"):
        table.start(components.containerd(paths))
        node = Containerd(paths)
        _wait_for(table, "containerd", node.answers)
    paths.audit_log.parent.mkdir(parents=True, exist_ok=True)
    with step("control plane"):
        table.start(components.etcd(paths))
        table.start(components.kube_apiserver(paths))
        addons.load_images(paths)
        _wait_for(table, "kube-apiserver", lambda: api_ready(paths))
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"):
            table.start(DAEMONS[name](paths))


def _check_port(name: str, host: str, port: int) -> None:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DevclusterError(
                f"{name} needs {host}:{port}, which is taken ({error.strerror}): is another Kubernetes running here? "
                "Stop it, or use it with DEVCLUSTER_PROVIDER=existing"
            ) from None


def _wait_for(table: ProcessTable, name: str, ready: Callable[[], bool]) -> None:
    def ready_or_dead() -> bool:
        if not table.living(name):
            raise DevclusterError(table.explain(name))
        return ready()

    wait_until(ready_or_dead, timeout=90, what=f"{name} is not ready (see its log in {table.logs})")


def _wait_until_serving(paths: Paths, table: ProcessTable) -> None:
    _wait_for(table, "kubelet", lambda: node_ready(paths))
    _wait_for(table, "kube-proxy", addons.dns_answers)
    _wait_for(table, "kube-proxy", addons.ingress_answers)


def _api_get(paths: Paths, path: str) -> bytes | None:
    """The body of a successful GET as administrator, None when there was none."""
    try:
        context = ssl.create_default_context(cafile=str(paths.pki / "ca.crt"))
        context.load_cert_chain(paths.pki / "admin.crt", paths.pki / "admin.key")
        connection = http.client.HTTPSConnection(layout.NODE_ADDRESS, layout.API_PORT, timeout=5, context=context)
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    return body if response.status == http.client.OK else None
