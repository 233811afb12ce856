"""Detached daemons with process-id files.

A process-id file also holds the start time of the process and the machine's boot id, so that after a reboot or a
wrap-around of ids no process of somebody else is ever taken for ours and signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.errors import DevclusterError

LOG_BYTES_KEPT = 20_000_000
LOG_LINES_SHOWN = 15


@dataclass(frozen=True)
class Daemon:
    """A program that keeps running: its name (also of its files), arguments and additional environment."""

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """What tells one process from every other that ever had its id."""

    pid: int
    start_ticks: int
    boot: str


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identity(pid: int) -> Identity | None:
    """The identity of a living process, None when there is none or it is a zombie (proc(5), fields 3 and 22)."""
    try:
        # The program's name, in parentheses, may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]), boot_id())


def executable(pid: int) -> str:
    """The path of a process's program, empty when it is gone or is a kernel thread."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def _inherited_descriptors() -> list[int]:
    """What this process was given beside standard input and output, such as the lock of a `flock` that runs it.

    A daemon that kept them would hold the lock for as long as it lives.
    """
    descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    return [descriptor for descriptor in descriptors if descriptor > 2 and _is_inheritable(descriptor)]


def _is_inheritable(descriptor: int) -> bool:
    with contextlib.suppress(OSError):  # the listing's own, which is closed by now
        return os.get_inheritable(descriptor)
    return False


def all_pids() -> list[int]:
    """The ids of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


@dataclass(frozen=True)
class ProcessTable:
    """The daemons started from here: one `<name>.json` in `folder` and one `<name>.log` in `logs` for each."""

    folder: Path
    logs: Path

    def living(self, name: str) -> Identity | None:
        """The daemon's identity while it runs."""
        try:
            recorded = Identity(**json.loads((self.folder / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(recorded.pid, os.WNOHANG)
        return recorded if identity(recorded.pid) == recorded else None

    def names(self) -> list[str]:
        """Every daemon that has a process-id file, alive or not."""
        return sorted(file.stem for file in self.folder.glob("*.json"))

    def start(self, daemon: Daemon) -> None:
        """Start the daemon in a session of its own unless it runs; it outlives this process."""
        if self.living(daemon.name):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{daemon.name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES_KEPT:
            log.replace(log.with_suffix(".log.1"))
        argv = [str(word) for word in daemon.argv]
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            argv[0],
            argv,
            {**_environment(), **daemon.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited_descriptors()),
            ],
            setsid=True,
        )
        born = identity(pid)
        if born is None:
            raise DevclusterError(self.explain(daemon.name))
        part = self.folder / f".{daemon.name}"
        part.write_text(json.dumps(vars(born)))
        part.replace(self.folder / f"{daemon.name}.json")

    def stop(self, names: Iterable[str], *, grace: float = 5) -> None:
        """Ask the named daemons to end, kill those that have not after `grace` seconds, and forget them all."""
        names = list(names)
        terminate([found for name in names if (found := self.living(name))], grace=grace)
        for name in names:
            (self.folder / f"{name}.json").unlink(missing_ok=True)

    def explain(self, name: str) -> str:
        """A sentence with the end of a daemon's log, for when it died."""
        log = self.logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:] if log.exists() else []
        return "\n".join([f"{name} ended; the end of {log}:", *lines])


def terminate(processes: Sequence[Identity], *, grace: float) -> None:
    """SIGTERM, wait up to `grace` seconds, SIGKILL; returns when all are gone."""
    for process, deadline in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        left = [one for one in processes if _alive(one)]
        for one in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, process)
        end = time.monotonic() + deadline
        while any(_alive(one) for one in left) and time.monotonic() < end:
            time.sleep(0.02)


def _environment() -> dict[str, str]:
    """Ours without proxies: a daemon speaks to this machine only."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _alive(process: Identity) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return identity(process.pid) == process
