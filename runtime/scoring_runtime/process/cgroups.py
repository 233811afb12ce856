"""How much CPU and memory this container may use.

Python and most native libraries see the whole node. The limits are in the cgroup file system: version 2
(https://docs.kernel.org/admin-guide/cgroup-v2.html) or version 1 on older nodes. /proc/self/cgroup says which group is
ours. In a container with a cgroup namespace of its own that is the root of what it sees; without one it is a path below
the node's root, or a path that is not there, because only our own group is mounted: then the root is ours. A limit of
any group above ours holds for us too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
# Version 1 writes "no limit" as the largest multiple of the page size; nobody has an exbibyte.
_NO_LIMIT_BYTES = 1 << 60


def memory_limit_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Return the container's memory limit in bytes, or None where there is none."""
    found = []
    for folder in _groups(root, own, "memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes") or ""
        if text.isdigit() and int(text) < _NO_LIMIT_BYTES:
            found.append(int(text))
    return min(found, default=None)


def cpu_limit(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Return the container's CPU limit in cores (1.5 for 1500m), or None where there is none."""
    found = []
    for folder in _groups(root, own, "cpu"):
        both = _read(folder / "cpu.max")
        if both is not None:
            quota, _, period = both.partition(" ")
        else:
            quota = _read(folder / "cpu.cfs_quota_us") or ""
            period = _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def usable_cores(root: Path = ROOT, own: Path = OWN) -> int:
    """Return how many threads can compute at one time: the limit rounded up, never more than the cores allowed."""
    allowed = len(os.sched_getaffinity(0))
    limit = cpu_limit(root, own)
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def _groups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders whose limits of `controller` hold for us, in both versions, from our own group upwards."""
    paths = _paths(own)
    yield from _upwards(root, paths.get("", "/"))
    for mount in (controller, "cpu,cpuacct", "cpuacct,cpu") if controller == "cpu" else (controller,):
        if (root / mount).is_dir():
            yield from _upwards(root / mount, paths.get(controller, "/"))
            return


def _paths(own: Path) -> dict[str, str]:
    """Return the path of our group by version 1 controller; that of version 2 has the empty name."""
    paths = {}
    for line in (_read(own) or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        for name in controllers.split(","):
            paths[name] = path
    return paths


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    below = PurePosixPath(path.lstrip("/"))
    # A path with .. is that of a group outside our namespace.
    if ".." not in below.parts:
        yield from (mount / part for part in (below, *below.parents) if part.parts)
    yield mount


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
