"""Takes the cluster away: processes, containers, mounts, network, cgroups and state. Works on one that is half dead."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from devcluster import components, network
from devcluster.commands import Command, succeeds, wait_until
from devcluster.containers import Containerd
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.processes import Identity, ProcessTable, all_pids, executable, identity, terminate
from devcluster.progress import step

SHIM = "containerd-shim-runc-v2"
CGROUP_ROOT = Path("/sys/fs/cgroup")
POD_CGROUP = "kubepods"
RUNTIME_FILES = Path("/run/containerd")
CONTAINER_LOG_LINKS = Path("/var/log/containers")


def remove_cluster(paths: Paths, table: ProcessTable) -> None:
    """Leave nothing of the cluster but caches; the registry keeps running."""
    running = [name for name in components.START_ORDER if name not in ("registry", "containerd")]
    with step("stopped kubelet and control plane"):
        table.stop(reversed(running), grace=1)
        # Daemons whose process-id files are lost; of containerd too, before another one is started beside it.
        lost = running if table.living("containerd") else [*running, "containerd"]
        terminate(daemons_of(paths, lost), grace=1)
    with step("removed containers"):
        _remove_containers(paths, table)
    with step("removed mounts, network and state"):
        _unmount_below(paths.cluster)
        network.tear_down(paths)
        _remove_cgroups()
        _remove_log_links(paths)
        shutil.rmtree(paths.cluster, ignore_errors=True)
    if paths.cluster.exists():
        raise DevclusterError(f"{paths.cluster} could not be removed; something is still mounted or written there")


def down(paths: Paths, table: ProcessTable) -> None:
    """Remove the cluster and stop the registry; programs, images and registry contents stay for the next time."""
    remove_cluster(paths, table)
    table.stop(table.names())
    terminate(daemons_of(paths), grace=2)
    for mounted in (paths.buildah, paths.containerd):
        _unmount_below(mounted)


def clean(paths: Paths, table: ProcessTable) -> None:
    """`down`, and every cache of the cluster as well. Go's own caches are the user's and stay."""
    down(paths, table)
    remove_caches(paths)


def remove_caches(paths: Paths) -> None:
    """Remove the cluster's folders; what others keep beside them, such as the benchmarks' environments, stays."""
    for folder in paths.owned:
        _remove_tree(folder)


def has_leftovers(paths: Paths) -> bool:
    """Whether a machine without our processes still has our bridge, firewall, pod cgroups or daemons."""
    return bool(network.is_set_up() or _pod_cgroups() or daemons_of(paths) or _mounts_below(paths.cluster))


def _remove_containers(paths: Paths, table: ProcessTable) -> None:
    """Delete containers through containerd, started for it when need be, then whatever did not go that way."""
    if (paths.etc / "containerd.toml").exists():
        table.start(components.containerd(paths))
        node = Containerd(paths)
        try:
            wait_until(node.answers, timeout=20, what="containerd does not answer")
            node.remove_all_containers()
        except DevclusterError:
            pass  # A broken containerd must not keep the rest from being removed: its processes are killed below.
    terminate(_processes_in_pods(), grace=0)
    table.stop(["containerd"])
    while shims := daemons_of(paths, [SHIM]):  # A shim that ends may have started another to clean up after it.
        terminate(shims, grace=0)
    _remove_runtime_files()


def _remove_runtime_files() -> None:
    """Remove what shims and runc leave in their fixed folders, unless another containerd has shims of its own there."""
    if any(executable(pid).endswith(SHIM) for pid in all_pids()):
        return
    for name in ("s", "runc/k8s.io"):
        shutil.rmtree(RUNTIME_FILES / name, ignore_errors=True)
    for folder in (RUNTIME_FILES / "runc", RUNTIME_FILES):
        with contextlib.suppress(OSError):
            folder.rmdir()


def daemons_of(paths: Paths, names: Iterable[str] = (*components.START_ORDER, SHIM)) -> list[Identity]:
    """Daemons that serve this cluster, also such whose process-id files are lost.

    Told by their program, from our tools folder, and by an argument that names our state: other programs may use the
    same tools for something of their own.
    """
    found = []
    for pid in all_pids():
        program = Path(executable(pid))
        if program.is_relative_to(paths.tools) and program.name in names and _names_our_state(paths, pid):
            one = identity(pid)
            found += [one] if one else []
    return found


def _names_our_state(paths: Paths, pid: int) -> bool:
    try:
        arguments = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
    return any(f"{folder}{os.sep}" in arguments for folder in (paths.cluster, paths.registry))


def _pod_cgroups() -> list[Path]:
    """The root of the pods' cgroups: one in each hierarchy of cgroup v1, one in all with v2."""
    candidates = [CGROUP_ROOT / POD_CGROUP, *CGROUP_ROOT.glob(f"*/{POD_CGROUP}")]
    return [folder for folder in candidates if (folder / "cgroup.procs").exists()]


def _processes_in_pods() -> list[Identity]:
    pids: set[int] = set()
    for root in _pod_cgroups():
        for file in root.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(pid) for pid in file.read_text().split())
    return [one for pid in pids if (one := identity(pid))]


def _remove_cgroups() -> None:
    """Remove the pods' cgroups from the leaves up; a killed process takes a moment to leave its own."""
    for root in _pod_cgroups():
        folders = sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*folders, root]:
            _remove_cgroup(folder)


def _remove_cgroup(folder: Path) -> None:
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise DevclusterError(f"the cgroup {folder} is still in use")


def _mounts_below(folder: Path) -> list[str]:
    """Mount points below the folder, the deepest first (proc(5), mountinfo: spaces and such are octal escapes)."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(folder) or point.startswith(f"{folder}{os.sep}"):
            points.append(point)
    return sorted(points, key=len, reverse=True)


def _unmount_below(folder: Path) -> None:
    for point in _mounts_below(folder):
        if not succeeds(Command(["umount", point])):
            succeeds(Command(["umount", "--lazy", point]))


def _remove_log_links(paths: Paths) -> None:
    """The kubelet links container logs from a fixed folder into its own."""
    if not CONTAINER_LOG_LINKS.is_dir():
        return
    for link in CONTAINER_LOG_LINKS.iterdir():
        if link.is_symlink() and str(link.readlink()).startswith(f"{paths.cluster}{os.sep}"):
            link.unlink()
    if not any(CONTAINER_LOG_LINKS.iterdir()):
        CONTAINER_LOG_LINKS.rmdir()


def _remove_tree(folder: Path) -> None:
    """Remove a cache folder, also one whose files are read-only or whose mounts were missed."""
    _unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise DevclusterError(f"{folder} could not be removed")
