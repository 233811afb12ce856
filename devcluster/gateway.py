"""The Gateway API: its resource kinds, from its Go module, and a GatewayClass that Traefik serves.

The kinds are those of the standard channel, as on any cluster that has the Gateway API; the module's checksum is fixed,
because nothing that is built compares it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import yaml

from devcluster import tools, versions
from devcluster.commands import Command, run, with_retries
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.progress import step

MODULE = "sigs.k8s.io/gateway-api"
CHANNEL = "config/crd/standard"
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
    folder = definitions(paths)
    put: list[str | Path] = [*kubectl, "apply", "--server-side", "--force-conflicts", "-f"]
    with step("Gateway API"):
        run(Command([*put, folder], env=NO_PROXY))
        established = ["wait", "--for=condition=Established", f"crd/{CLASSES}", "--timeout=60s"]
        run(Command([*kubectl, *established], env=NO_PROXY))
        run(Command([*put, "-"], env=NO_PROXY, stdin=yaml.safe_dump(GATEWAY_CLASS)))


def definitions(paths: Paths) -> Path:
    """The folder with the CustomResourceDefinitions; fetched when missing."""
    folder = paths.tools / f"gateway-api-{versions.GATEWAY_API}"
    if not folder.is_dir():
        with step(f"fetched the Gateway API {versions.GATEWAY_API}", always=True):
            with_retries(lambda: _fetch(paths, folder))
    return folder


def _fetch(paths: Paths, folder: Path) -> None:
    go = tools.find_go(paths)
    paths.tools.mkdir(parents=True, exist_ok=True)
    module = f"{MODULE}@{versions.GATEWAY_API}"
    download = Command([go, "mod", "download", "-json", module], env={"GOWORK": "off"}, cwd=paths.tools)
    found = json.loads(run(download))
    if found["Sum"] != versions.GATEWAY_API_SUM:
        raise DevclusterError(
            f"{module} has the checksum {found['Sum']}, and devcluster/versions.py says {versions.GATEWAY_API_SUM}"
        )
    with tempfile.TemporaryDirectory(dir=paths.tools) as new:
        output = Path(new) / "definitions"
        output.mkdir()
        for file in sorted((Path(found["Dir"]) / CHANNEL).glob("*.yaml")):
            if any(document["kind"] == "CustomResourceDefinition" for document in yaml.safe_load_all(file.read_text())):
                shutil.copyfile(file, output / file.name)
        output.rename(folder)
