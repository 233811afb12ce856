"""Which cluster the demo, the tests and make work on.

DEVCLUSTER_PROVIDER says it: `existing` (that of $KUBECONFIG, an explicit choice, never a guess), `kind`, `devcluster`,
or `auto`, the default: kind where a Docker engine answers, else devcluster.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import builders, cluster, kind, layout, registry, teardown, tools
from devcluster.builders import Buildah, Builder, Docker
from devcluster.commands import Command, succeeds
from devcluster.containers import Containerd, references_missing
from devcluster.errors import DevclusterError
from devcluster.paths import SOURCE_TREE, Paths
from devcluster.progress import step
from devcluster.registry_store import RegistryStore

PROVIDERS = ("auto", "existing", "kind", "devcluster")


@dataclass(frozen=True)
class Target:
    """A cluster, and how images get to it."""

    provider: str
    paths: Paths
    kubeconfig: Path
    kubectl: Path
    helm: Path
    ingress_address: str
    """Where a client connects to for every host name, on ports 80 and 443."""

    registry: str
    """What image references start with."""

    audit_log: Path | None = None
    """The API server's audit log, one JSON object a line, where the provider has one."""

    @property
    def images(self) -> dict[str, Any]:
        """The image references that `python -m devcluster images` wrote last."""
        file = SOURCE_TREE / ".out" / "images.json"
        if not file.exists():
            raise DevclusterError("no images were built yet; run `make images`")
        document: dict[str, Any] = json.loads(file.read_text())
        return document

    @property
    def builder(self) -> Builder:
        """Docker where its engine answers, else buildah; the embedded cluster always builds with buildah."""
        if self.provider != "devcluster" and builders.engine_answers():
            return Docker(self.paths)
        return Buildah(self.paths)

    def holds(self, reference: str) -> bool:
        """Whether the image is already where the cluster gets it from."""
        if self.provider == "devcluster":
            return registry.holds(self.paths, reference)
        return self.provider == "kind" and kind.holds(self.paths, reference)

    def mark_used(self, reference: str) -> None:
        """Note that the image was asked for, which keeps it from being pruned before others of its kind."""
        if self.provider == "devcluster":
            RegistryStore(self.paths.registry).mark_used(reference.removeprefix(f"{self.registry}/"))

    def push(self, reference: str) -> None:
        """Bring an image from the builder's store to where the cluster gets it from."""
        if self.provider == "kind":
            kind.load(self.paths, reference)
        else:
            self.builder.push(reference)

    def warm(self, references: Iterable[str]) -> None:
        """Put images on the node, so that a test does not measure the pull; only where the node is at hand."""
        if self.provider != "devcluster":
            return
        node = Containerd(self.paths)
        if not node.answers():
            return
        for reference in references_missing(node.images(), list(references)):
            with step(f"pulled {reference.rpartition('/')[2]} onto the node"):
                node.pull(reference)


def provider(environ: Mapping[str, str] | None = None) -> str:
    """The provider that the environment chooses: existing, kind or devcluster."""
    environ = os.environ if environ is None else environ
    choice = environ.get("DEVCLUSTER_PROVIDER") or "auto"
    if choice not in PROVIDERS:
        raise DevclusterError(f"DEVCLUSTER_PROVIDER is {choice!r}; it must be one of {', '.join(PROVIDERS)}")
    if choice == "auto":
        return "kind" if builders.engine_answers() else "devcluster"
    return choice


def select(environ: Mapping[str, str] | None = None) -> Target:
    """The target that the environment chooses; nothing is started by it, except the build of missing tools."""
    environ = os.environ if environ is None else environ
    paths = Paths.from_environment(environ)
    return {"existing": _existing, "kind": _kind, "devcluster": _devcluster}[provider(environ)](paths, environ)


def up(environ: Mapping[str, str] | None = None) -> Target:
    """Bring the chosen cluster up; an existing one only has to answer."""
    target = select(environ)
    if target.provider == "devcluster":
        cluster.up(target.paths)
    elif target.provider == "kind":
        with cluster.exclusive(target.paths):
            kind.up(target.paths, target.kubeconfig, target.kubectl)
    elif not succeeds(Command([target.kubectl, "version", "--request-timeout=10s"], env=_kubeconfig(target))):
        raise DevclusterError(f"the cluster of {target.kubeconfig} does not answer")
    return target


def down(environ: Mapping[str, str] | None = None) -> None:
    """Remove the chosen cluster; an existing one is the user's and stays."""
    chosen = provider(environ)
    paths = Paths.from_environment(environ)
    if chosen == "devcluster":
        with cluster.exclusive(paths):
            teardown.down(paths, cluster.process_table(paths))
    elif chosen == "kind":
        with cluster.exclusive(paths):
            kind.down(paths)


def _devcluster(paths: Paths, _: Mapping[str, str]) -> Target:
    return Target(
        provider="devcluster",
        paths=paths,
        kubeconfig=paths.kubeconfig,
        kubectl=paths.bin / "kubectl",
        helm=paths.bin / "helm",
        ingress_address=layout.INGRESS_ADDRESS,
        registry=registry.host(paths),
        audit_log=paths.audit_log,
    )


def _kind(paths: Paths, _: Mapping[str, str]) -> Target:
    return Target(
        provider="kind",
        paths=paths,
        kubeconfig=kind.kubeconfig(paths),
        kubectl=_program(paths, "kubectl"),
        helm=_program(paths, "helm"),
        ingress_address=kind.INGRESS_ADDRESS,
        registry=kind.REGISTRY,
    )


def _existing(paths: Paths, environ: Mapping[str, str]) -> Target:
    missing = [
        name for name in ("KUBECONFIG", "DEVCLUSTER_REGISTRY", "DEVCLUSTER_INGRESS_ADDRESS") if not environ.get(name)
    ]
    if missing:
        raise DevclusterError(
            f"DEVCLUSTER_PROVIDER=existing needs {', '.join(missing)}: KUBECONFIG names the cluster, "
            "DEVCLUSTER_REGISTRY where its nodes pull images from (host/path), DEVCLUSTER_INGRESS_ADDRESS where its "
            "ingress controller listens"
        )
    return Target(
        provider="existing",
        paths=paths,
        kubeconfig=Path(environ["KUBECONFIG"]),
        kubectl=_program(paths, "kubectl"),
        helm=_program(paths, "helm"),
        ingress_address=environ["DEVCLUSTER_INGRESS_ADDRESS"],
        registry=environ["DEVCLUSTER_REGISTRY"].rstrip("/"),
    )


def _kubeconfig(target: Target) -> dict[str, str]:
    return {"KUBECONFIG": str(target.kubeconfig)}


def _program(paths: Paths, name: str) -> Path:
    """The user's own program where it works, else ours, built when missing."""
    versions = {"kubectl": ("version", "--client"), "helm": ("version", "--short")}
    found = shutil.which(name)
    if found and succeeds(Command([found, *versions[name]])):
        return Path(found)
    wanted = [toolset for toolset in tools.CLUSTER if name in toolset.names]
    with cluster.exclusive(paths):
        tools.ensure(paths, *wanted)
    return paths.bin / name
