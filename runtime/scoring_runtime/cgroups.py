"""How much CPU and memory this container may use.

Python and most native libraries see the whole node. The limits are in the cgroup file system: version 2
(https://docs.kernel.org/admin-guide/cgroup-v2.html) or version 1 on older nodes.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# Version 1 writes "no limit" as the largest multiple of the page size; nobody has an exbibyte.
_NO_LIMIT_BYTES = 1 << 60


def memory_limit_bytes(root: Path = ROOT) -> int | None:
    """Return the container's memory limit in bytes, or None where there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(root / name)
        if text is not None:
            return int(text) if text.isdigit() and int(text) < _NO_LIMIT_BYTES else None
    return None


def cpu_limit(root: Path = ROOT) -> float | None:
    """Return the container's CPU limit in cores (1.5 for 1500m), or None where there is none."""
    both = _read(root / "cpu.max")
    if both is not None:
        quota, _, period = both.partition(" ")
    else:
        quota = _read(root / "cpu/cpu.cfs_quota_us") or ""
        period = _read(root / "cpu/cpu.cfs_period_us") or ""
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def usable_cores(root: Path = ROOT) -> int:
    """Return how many threads can compute at one time: the limit rounded up, never more than the cores allowed."""
    allowed = len(os.sched_getaffinity(0))
    limit = cpu_limit(root)
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
