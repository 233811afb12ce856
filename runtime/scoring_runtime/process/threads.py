"""How many threads the native libraries may use.

OpenMP, BLAS and their like take as many threads as the node has cores, which in a container of one core makes each
computation slower by the switching between them. Most read an environment variable when they are loaded, so the entry
point sets those before anything imports NumPy. What was loaded before (a test, `kubectl scoring serve`) is told by
threadpoolctl. A number that somebody chose in OMP_NUM_THREADS is left alone and holds for the others too.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from scoring_runtime.process.cgroups import usable_cores

_CHOSEN = "OMP_NUM_THREADS"
VARIABLES = (
    _CHOSEN,
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    # joblib's idea of how many cores there are, which n_jobs=-1 stands for.
    "LOKY_MAX_CPU_COUNT",
)


def threads_of_a_process(processes: int = 1, environment: MutableMapping[str, str] = os.environ) -> int:
    """Return how many threads one of `processes` processes may compute with: what was chosen, or its part of the cores.

    OpenMP allows a list for nested regions, as in 4,2: the first number counts.
    """
    if _CHOSEN in environment:
        chosen = environment[_CHOSEN].partition(",")[0].strip()
        if chosen.isdigit() and int(chosen) > 0:
            return int(chosen)
    return max(1, usable_cores() // processes)


def limit_libraries(processes: int = 1, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables that libraries read when they are loaded; those that are set already stay as they are."""
    threads = str(threads_of_a_process(processes, environment))
    for name in VARIABLES:
        environment.setdefault(name, threads)


def limit_loaded_libraries(threads: int) -> None:
    """Limit the pools of the libraries that are loaded already. Needs threadpoolctl, which scikit-learn brings."""
    import threadpoolctl  # type: ignore[import-untyped]

    threadpoolctl.threadpool_limits(limits=threads)
