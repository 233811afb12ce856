"""Where everything lies: one cache folder outside the source tree."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE_TREE = Path(__file__).resolve().parent.parent
PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Paths:
    """The folders of the cluster. `cluster` goes with `down`; the others of `owned` are caches that `clean` removes."""

    cache: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """$DEVCLUSTER_CACHE, else scoring-operator below $XDG_CACHE_HOME, else below ~/.cache."""
        environ = os.environ if environ is None else environ
        if environ.get("DEVCLUSTER_CACHE"):
            return cls(Path(environ["DEVCLUSTER_CACHE"]).expanduser().resolve())
        base = environ.get("XDG_CACHE_HOME") or "~/.cache"
        return cls(Path(base).expanduser().resolve() / "scoring-operator")

    @property
    def tools(self) -> Path:
        """Built programs, one folder for each version and build setting."""
        return self.cache / "tools"

    @property
    def bin(self) -> Path:
        """Links to the current version of each program."""
        return self.cache / "bin"

    @property
    def archives(self) -> Path:
        """Image archives of the node's own images and of the Debian base."""
        return self.cache / "archives"

    @property
    def buildah(self) -> Path:
        """The image store of buildah."""
        return self.cache / "buildah"

    @property
    def registry(self) -> Path:
        """The blobs of the local registry."""
        return self.cache / "registry"

    @property
    def containerd(self) -> Path:
        """Images and snapshots of the node."""
        return self.cache / "containerd"

    @property
    def cluster(self) -> Path:
        """State of the running cluster: keys, configuration, etcd, kubelet, logs, process ids."""
        return self.cache / "cluster"

    @property
    def processes(self) -> Path:
        """Process id files of the daemons, the registry's included."""
        return self.cache / "processes"

    @property
    def logs(self) -> Path:
        """Logs of the daemons and of builds."""
        return self.cache / "logs"

    @property
    def pki(self) -> Path:
        """Keys and certificates of the cluster."""
        return self.cluster / "pki"

    @property
    def etc(self) -> Path:
        """Rendered configuration files."""
        return self.cluster / "etc"

    @property
    def kubelet(self) -> Path:
        """The kubelet's root directory: pod volumes."""
        return self.cluster / "kubelet"

    @property
    def containerd_state(self) -> Path:
        """Mounts and bundles of running containers, and network namespaces."""
        return self.cluster / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """The address of containerd."""
        return self.cluster / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.cluster / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line; older parts lie beside it."""
        return self.cluster / "audit" / "audit.log"

    @property
    def kind(self) -> Path:
        """The kubeconfig of a kind cluster."""
        return self.cache / "kind"

    @property
    def owned(self) -> tuple[Path, ...]:
        """Everything below `cache` that is the cluster's, but the locks; other programs keep theirs beside it."""
        images = (self.archives, self.buildah, self.registry, self.containerd)
        return (self.cluster, self.processes, self.logs, self.tools, self.bin, *images, self.kind)

    @property
    def locks(self) -> Path:
        """Files that are locked by whoever changes the cluster or builds images."""
        return self.cache / "locks"
