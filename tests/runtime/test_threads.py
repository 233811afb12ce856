"""How many threads may compute: the container's limits, and who is told.

Limits, as files of the cgroup file system made here:
- version 2: our own group, a group above it, only the root visible, a path outside the namespace;
- version 1: the node's whole tree, only our own group mounted, both controllers in one folder;
- no limit, in the words of each version; no cgroups at all.

Threads: the limit, a number that somebody chose, several processes; set before NumPy is there, and after.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import threadpoolctl

from scoring_runtime.process.cgroups import cpu_limit, memory_limit_bytes, usable_cores
from scoring_runtime.process.threads import VARIABLES, limit_libraries, limit_loaded_libraries, threads_of_a_process

from .conftest import clean_environment

POD = "kubepods/burstable/pod1"
OWN_V2 = f"0::/{POD}/c1\n"
OWN_V1 = f"4:memory:/{POD}/c1\n3:cpu,cpuacct:/{POD}/c1\n1:name=systemd:/{POD}/c1\n0::/\n"


def tree(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write a cgroup file system and a /proc/self/cgroup; return their paths."""
    root = folder / "cgroup"
    root.mkdir()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    (folder / "own").write_text(own)
    return root, folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "cpu", "memory"),
    [
        ("0::/\n", {"cpu.max": "150000 100000", "memory.max": "1000"}, 1.5, 1000),
        (OWN_V2, {f"{POD}/c1/cpu.max": "50000 100000", f"{POD}/c1/memory.max": "1000"}, 0.5, 1000),
        (
            OWN_V2,
            {
                f"{POD}/c1/cpu.max": "max 100000",
                f"{POD}/cpu.max": "200000 100000",
                f"{POD}/c1/memory.max": "3000",
                f"{POD}/memory.max": "2000",
            },
            2.0,
            2000,
        ),
        (OWN_V2, {"cpu.max": "100000 100000", "memory.max": "1000"}, 1.0, 1000),
        ("0::/../../other\n", {"cpu.max": "100000 100000", "other/cpu.max": "1 100000"}, 1.0, None),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            OWN_V1,
            {
                f"cpu,cpuacct/{POD}/c1/cpu.cfs_quota_us": "250000",
                f"cpu,cpuacct/{POD}/c1/cpu.cfs_period_us": "100000",
                f"memory/{POD}/c1/memory.limit_in_bytes": "5000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            2.5,
            5000,
        ),
        (
            OWN_V1,
            {
                "cpu/cpu.cfs_quota_us": "100000",
                "cpu/cpu.cfs_period_us": "50000",
                "memory/memory.limit_in_bytes": "5000",
            },
            2.0,
            5000,
        ),
        (
            OWN_V1,
            {
                f"cpu/{POD}/c1/cpu.cfs_quota_us": "-1",
                f"cpu/{POD}/c1/cpu.cfs_period_us": "100000",
                f"cpu/{POD}/cpu.cfs_quota_us": "300000",
                f"cpu/{POD}/cpu.cfs_period_us": "100000",
                f"memory/{POD}/c1/memory.limit_in_bytes": "9223372036854771712",
            },
            3.0,
            None,
        ),
        ("", {}, None, None),
        ("not a cgroup file", {"cpu.max": "nonsense", "memory.max": ""}, None, None),
    ],
)
def test_limits(tmp_path: Path, own: str, files: dict[str, str], cpu: float | None, memory: int | None) -> None:
    root, path = tree(tmp_path, own, files)
    assert (cpu_limit(root, path), memory_limit_bytes(root, path)) == (cpu, memory)


@pytest.mark.parametrize(("quota", "cores"), [("10000", 1), ("100000", 1), ("100001", 2), ("900000000", None)])
def test_cores(tmp_path: Path, quota: str, cores: int | None) -> None:
    there = len(os.sched_getaffinity(0))
    root, own = tree(tmp_path, OWN_V2, {f"{POD}/c1/cpu.max": f"{quota} 100000"})
    assert usable_cores(root, own) == min(cores or there, there)


@pytest.mark.parametrize(
    ("chosen", "processes", "threads"),
    [("3", 1, 3), ("3", 2, 3), ("4,2", 1, 4), ("", 1, None), ("0", 1, None), ("many", 1, None)],
)
def test_a_number_that_somebody_chose(chosen: str, processes: int, threads: int | None) -> None:
    expected = threads or usable_cores()
    assert threads_of_a_process(processes, {"OMP_NUM_THREADS": chosen}) == expected


def test_processes_share_the_cores() -> None:
    cores = usable_cores()
    assert threads_of_a_process(1, {}) == cores
    assert threads_of_a_process(cores, {}) == 1
    assert threads_of_a_process(10 * cores, {}) == 1


def test_variables_are_set_and_never_changed() -> None:
    environment = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "7"}
    limit_libraries(1, environment)
    assert environment == {**dict.fromkeys(VARIABLES, "3"), "MKL_NUM_THREADS": "7"}
    environment = {}
    limit_libraries(1, environment)
    assert environment == dict.fromkeys(VARIABLES, str(usable_cores()))


def test_libraries_are_told_before_they_are_loaded() -> None:
    """The entry point must not import NumPy, whose BLAS reads its variable once."""
    code = (
        "import sys, scoring_runtime.__main__ as main; assert 'numpy' not in sys.modules;"
        "main.threads.limit_libraries(); import numpy, threadpoolctl;"
        "print([pool['num_threads'] for pool in threadpoolctl.threadpool_info()])"
    )
    environment = clean_environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.strip()) <= set("[1, ]")
    assert "1" in done.stdout


def test_libraries_are_told_after_they_are_loaded() -> None:
    before = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    try:
        limit_loaded_libraries(1)
        pools = threadpoolctl.threadpool_info()
        assert pools
        assert {pool["num_threads"] for pool in pools} == {1}
    finally:
        limit_loaded_libraries(max(before.values(), default=1))
