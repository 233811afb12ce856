"""What runs inside the cluster from the start: DNS and an ingress controller, with the images they need."""

from __future__ import annotations

import hashlib
import platform
import shutil
import socket
import string
import struct
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import yaml

from devcluster import archive, configuration, gateway, layout, traefik, versions
from devcluster.commands import Command, run
from devcluster.containers import Containerd
from devcluster.errors import DevclusterError
from devcluster.paths import PACKAGE, Paths
from devcluster.progress import step
from devcluster.tools import location

COREDNS_IMAGE = f"registry.k8s.io/coredns/coredns:{versions.COREDNS}"
NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}
MANIFESTS = PACKAGE / "manifests"


def node_images(paths: Paths) -> dict[str, Path]:
    """Archives of pause, CoreDNS and Traefik by image reference; made when missing."""
    return {
        configuration.PAUSE_IMAGE: program_archive(
            paths, configuration.PAUSE_IMAGE, lambda: _compile_pause(paths), "65535:65535"
        ),
        COREDNS_IMAGE: program_archive(paths, COREDNS_IMAGE, lambda: location(paths, "coredns"), "0:0"),
        traefik.image_reference(): traefik_archive(paths),
    }


def traefik_archive(paths: Paths) -> Path:
    """The archive of Traefik's image, made when missing."""
    return program_archive(paths, traefik.image_reference(), traefik.program, "65532:65532")


def program_archive(paths: Paths, reference: str, source: Callable[[], Path], user: str) -> Path:
    """An archive of one static program on scratch, called what the last part of the image's name says."""
    name = reference.rpartition("/")[2].partition(":")[0]
    file = paths.archives / f"{reference.rpartition('/')[2].replace(':', '-')}.tar"
    if not file.exists():
        image = archive.ScratchImage(reference, {f"/{name}": source()}, (f"/{name}",), _architecture(), user)
        with step(f"made image {reference}"):
            archive.write(image, file)
    return file


def load_images(paths: Paths) -> None:
    """Put the images of this module on the node where it lacks them."""
    node = Containerd(paths)
    present = node.images()
    for reference, file in node_images(paths).items():
        if reference not in present:
            with step(f"loaded {reference}"):
                node.load(file)


def manifests(*, ingress_address: str, ingress_cluster_ip: str = "") -> dict[str, str]:
    """The manifests of each addon: YAML by name. Traefik writes `ingress_address` into the status of ingresses."""
    values = {
        "COREDNS_VERSION": versions.COREDNS,
        "DNS_ADDRESS": layout.DNS_ADDRESS,
        "TRAEFIK_VERSION": traefik.version(),
        "INGRESS_ADDRESS": ingress_address,
        "INGRESS_CLUSTER_IP": ingress_cluster_ip or '""',
    }
    rendered = {
        file.stem: string.Template(file.read_text()).substitute(values) for file in sorted(MANIFESTS.glob("*.yaml"))
    }
    definitions = yaml.safe_dump_all(traefik.definitions(), sort_keys=False)
    rendered["traefik"] = f"{definitions}---\n{rendered['traefik']}"
    return rendered


def apply(paths: Paths) -> None:
    """Apply the addons to this cluster unless exactly these were applied to it before."""
    rendered = manifests(ingress_address=layout.INGRESS_ADDRESS, ingress_cluster_ip=layout.INGRESS_ADDRESS)
    text = "\n---\n".join(rendered.values())
    record = paths.cluster / "addons.sha256"
    digest = hashlib.sha256((text + versions.GATEWAY_API).encode()).hexdigest()
    if record.exists() and record.read_text() == digest:
        return
    kubectl = kubectl_command(paths)
    gateway.apply(paths, kubectl)  # first: Traefik looks for the kinds when it starts
    run(
        Command([*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"], env=NO_PROXY, stdin=text),
        timeout=60,
    )
    record.write_text(digest)


def kubectl_command(paths: Paths) -> list[str | Path]:
    """How kubectl is called for the cluster that runs here, without the words of a command."""
    return [location(paths, "kubectl"), "--kubeconfig", paths.kubeconfig]


def dns_answers() -> bool:
    """Whether the cluster's DNS resolves the API's Service, asked from the host over UDP (RFC 1035)."""
    name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b"."))
    query = struct.pack(">6H", 0x5C0E, 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack(">2H", 1, 1)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(0.5)
        try:
            client.sendto(query, (layout.DNS_ADDRESS, 53))
            answer = client.recv(512)
        except OSError:
            return False
    header: tuple[int, ...] = struct.unpack(">6H", answer[:12])
    return header[1] & 0x000F == 0 and header[3] >= 1


def ingress_answers(address: str = layout.INGRESS_ADDRESS) -> bool:
    """Whether Traefik answers on port 80 (404 for a host it does not know)."""
    with closing(HTTPConnection(address, 80, timeout=0.5)) as connection:
        try:
            connection.request("GET", "/", headers={"Host": "nobody.invalid"})
            return connection.getresponse().status == 404
        except (OSError, HTTPException):
            return False


def _compile_pause(paths: Paths) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise DevclusterError("a C compiler is missing; install the Debian packages gcc and libc6-dev")
    program = paths.archives / "pause"
    program.parent.mkdir(parents=True, exist_ok=True)
    source = PACKAGE / "pause" / "pause.c"
    run(Command([compiler, "-Os", "-s", "-static", "-Wall", "-Werror", "-o", program, source]))
    return program


def _architecture() -> str:
    machine = platform.machine()
    if machine not in archive.ARCHITECTURES:
        raise DevclusterError(f"no image can be made for machine type {machine}; x86_64 and aarch64 are supported")
    return archive.ARCHITECTURES[machine]
