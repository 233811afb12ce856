"""kind, the ordinary way where a Docker engine runs: Kubernetes in a container, with the same Traefik as devcluster.

The version of the node image is the one that this version of kind defaults to.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from devcluster import addons, gateway, tools, traefik
from devcluster.commands import Command, run, run_logged, succeeds, wait_until
from devcluster.paths import Paths
from devcluster.progress import step

NAME = "scoring-operator"
INGRESS_ADDRESS = "127.0.0.1"
REGISTRY = "registry.invalid"
"""Images are loaded into the node and never pulled; the host in their names cannot exist (RFC 6761)."""

INGRESS_PORTS = {80: 30080, 443: 30443}
"""Port on the machine to node port of Traefik's Service."""

CONFIGURATION = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "nodes": [
        {
            "role": "control-plane",
            "extraPortMappings": [
                {"containerPort": node_port, "hostPort": port, "listenAddress": INGRESS_ADDRESS, "protocol": "TCP"}
                for port, node_port in INGRESS_PORTS.items()
            ],
        }
    ],
}


def kubeconfig(paths: Paths) -> Path:
    """The cluster's kubeconfig; the user's own is not touched."""
    return paths.kind / "kubeconfig"


def up(paths: Paths, config: Path, kubectl: Path) -> None:
    """Create the cluster unless it is there, and Traefik in it; wait until that is ready."""
    tools.ensure(paths, tools.KIND)
    if NAME not in run(_kind(paths, "get", "clusters")).split():
        config.parent.mkdir(parents=True, exist_ok=True)
        settings = config.with_name("kind.yaml")
        settings.write_text(yaml.safe_dump(CONFIGURATION))
        with step(f"created the kind cluster {NAME}", always=True):
            create = _kind(paths, "create", "cluster", "--name", NAME, "--config", settings, "--wait", "120s")
            run_logged(Command(create.argv, env={"KUBECONFIG": str(config)}), paths.logs / "kind.log")
    if not holds(paths, traefik.image_reference()):
        run(_kind(paths, "load", "image-archive", "--name", NAME, addons.traefik_archive(paths)))
    manifests = addons.manifests(ingress_address=INGRESS_ADDRESS)["traefik"]
    client: list[str | Path] = [kubectl, "--kubeconfig", config]
    gateway.apply(paths, client)
    run(Command([*client, "apply", "--server-side", "--force-conflicts", "-f", "-"], stdin=_with_node_ports(manifests)))
    with step("ingress controller ready"):
        run(Command([*client, "-n", "traefik", "rollout", "status", "deployment/traefik", "--timeout", "120s"]))
        wait_until(lambda: addons.ingress_answers(INGRESS_ADDRESS), timeout=30, what="Traefik does not answer")


def down(paths: Paths) -> None:
    """Delete the cluster."""
    tools.ensure(paths, tools.KIND)
    run(_kind(paths, "delete", "cluster", "--name", NAME))
    kubeconfig(paths).unlink(missing_ok=True)


def holds(paths: Paths, reference: str) -> bool:
    """Whether the node has the image."""
    return succeeds(Command(["docker", "exec", f"{NAME}-control-plane", "crictl", "inspecti", "--quiet", reference]))


def load(paths: Paths, reference: str) -> None:
    """Copy an image from the Docker engine into the node."""
    run_logged(_kind(paths, "load", "docker-image", "--name", NAME, reference), paths.logs / "kind-load.log")


def _kind(paths: Paths, *words: str | Path) -> Command:
    return Command([paths.bin / "kind", *words])


def _with_node_ports(manifests: str) -> str:
    """Traefik's Service with the node ports that are mapped to ports 80 and 443 of the machine."""
    documents = [document for document in yaml.safe_load_all(manifests) if document]
    for document in documents:
        if document["kind"] == "Service":
            document["spec"] = {**document["spec"], "type": "NodePort"}
            for port in document["spec"]["ports"]:
                port["nodePort"] = INGRESS_PORTS[port["port"]]
    return yaml.safe_dump_all(documents, sort_keys=False)
