"""The Gateway API: its resource kinds, from its Go module, and a GatewayClass that Traefik serves."""

from __future__ import annotations

from pathlib import Path

import yaml

from devcluster import definitions
from devcluster.commands import Command, run
from devcluster.paths import Paths
from devcluster.progress import step

NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}
CLASSES = "gatewayclasses.gateway.networking.k8s.io"
"""The definition that must be in force before there can be a GatewayClass."""
GATEWAY_CLASS = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "traefik"},
    "spec": {"controllerName": "traefik.io/gateway-controller"},
}


def apply(paths: Paths, kubectl: list[str | Path]) -> None:
    """Apply the kinds and the class with this kubectl command; what is there already stays."""
    folder = definitions.folder(paths, definitions.GATEWAY_API)
    put: list[str | Path] = [*kubectl, "apply", "--server-side", "--force-conflicts", "-f"]
    with step("Gateway API"):
        run(Command([*put, folder], env=NO_PROXY))
        established = ["wait", "--for=condition=Established", f"crd/{CLASSES}", "--timeout=60s"]
        run(Command([*kubectl, *established], env=NO_PROXY))
        run(Command([*put, "-"], env=NO_PROXY, stdin=yaml.safe_dump(GATEWAY_CLASS)))
