"""The metrics server, for the tests that need it: `kubectl top`, and HorizontalPodAutoscalers on CPU.

It is not part of every cluster. An aggregated API that is away for a moment holds up the deletion of namespaces, which
all end-to-end tests do; and few need to know what CPU is used.
"""

from __future__ import annotations

import string
from pathlib import Path

from devcluster import addons, cluster, tools, versions
from devcluster.commands import Command, run, succeeds, wait_until
from devcluster.containers import Containerd
from devcluster.errors import DevclusterError
from devcluster.paths import PACKAGE, Paths
from devcluster.progress import step
from devcluster.tools import location

IMAGE = f"registry.k8s.io/metrics-server/metrics-server:{versions.METRICS_SERVER}"
MANIFEST = PACKAGE / "manifests" / "optional" / "metrics-server.yaml"
READY_SECONDS = 120
"""It knows nothing before it has asked the kubelet twice, a quarter of a minute apart."""


def manifest() -> str:
    """Everything that it consists of, as YAML."""
    return string.Template(MANIFEST.read_text()).substitute(METRICS_SERVER_VERSION=versions.METRICS_SERVER)


def apply(paths: Paths) -> None:
    """Build it where that was not done, put it on the cluster that runs here, and wait until it tells what is used."""
    if not cluster.is_running(paths):
        raise DevclusterError("there is no cluster for a metrics server; run `make cluster`")
    tools.ensure(paths, tools.METRICS_SERVER)
    kubectl = addons.kubectl_command(paths)
    _check_aggregation(kubectl)
    node = Containerd(paths)
    if IMAGE not in node.images():
        file = addons.program_archive(paths, IMAGE, lambda: location(paths, "metrics-server"), "65532:65532")
        with step(f"loaded {IMAGE}"):
            node.load(file)
    put: list[str | Path] = [*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"]
    run(Command(put, env=addons.NO_PROXY, stdin=manifest()), timeout=60)
    top = Command([*kubectl, "top", "nodes"], env=addons.NO_PROXY)
    with step("the metrics server tells what is used"):
        wait_until(lambda: succeeds(top), timeout=READY_SECONDS, what="the metrics server tells nothing", every=1)


def remove(paths: Paths) -> None:
    """Take it off the cluster."""
    gone = [*addons.kubectl_command(paths), "delete", "--ignore-not-found", "-f", "-"]
    run(Command(gone, env=addons.NO_PROXY, stdin=manifest()), timeout=120)


def _check_aggregation(kubectl: list[str | Path]) -> None:
    """Refuse a cluster that runs since before its API server introduced callers to API servers behind it."""
    words = ["-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "yaml"]
    if "requestheader-client-ca-file" not in run(Command([*kubectl, *words], env=addons.NO_PROXY)):
        raise DevclusterError("this cluster was started by an older devcluster: run `make cluster-down cluster`")
