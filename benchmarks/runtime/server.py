"""One server under measurement: its start on core 0, its processes' memory and CPU time, its end.

Some servers are several processes, and some of those outlive or leave their parent, or overwrite their environment with
their title. What belongs to a server is therefore found in three ways (proc(5)): by an environment variable that all
inherit, by the session, and by descent from either.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, CLIENT_CORE = "0", "1"
TAG = "RUNTIME_BENCH_RUN"
_POLL_SECONDS = 0.01
# One core is one thread: libraries that count the machine's cores instead would get in their own way.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class ServerError(Exception):
    """The server ended or never answered; the message has the end of its log."""


@dataclass(frozen=True)
class Launch:
    """How to start a server."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    """Its working directory, and where its log goes."""
    cores: str = SERVER_CORE
    """Where its processes run; empty for all cores."""


@dataclass(frozen=True)
class Memory:
    """Memory of all processes of a server, in MiB."""

    proportional: float
    """PSS: what processes share is counted once."""
    resident: float
    """The sum of their RSS."""


@dataclass
class Server:
    """A running server."""

    port: int
    ready_seconds: float
    """From the start of the process to the first right answer."""
    tag: str
    session: int

    def processes(self) -> list[int]:
        """Return the ids of the server's processes."""
        return _belonging(self.tag, self.session)

    def memory(self) -> Memory:
        """Return the memory that the server's processes have now."""
        proportional = resident = 0
        for pid in self.processes():
            try:
                fields = dict(
                    line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
                )
            except (OSError, ValueError):
                continue
            proportional += int(fields["Pss"].split()[0])
            resident += int(fields["Rss"].split()[0])
        return Memory(proportional / 1024, resident / 1024)

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server's processes have used, user and system."""
        ticks = 0
        for pid in self.processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(launch: Launch, port: int, answers: Callable[[int], bool], seconds: float) -> Iterator[Server]:
    """Run a server on its core until the block ends; `answers` says whether it scores on that port.

    Raises ServerError when it ends or does not score within `seconds`.
    """
    tag = uuid.uuid4().hex
    environment = {**os.environ, **ONE_THREAD, **launch.environment, TAG: tag}
    log = launch.folder / "server.log"
    with log.open("wb") as stream:
        started = time.monotonic()
        process = subprocess.Popen(
            [*(("taskset", "-c", launch.cores) if launch.cores else ()), *launch.command],
            env=environment, cwd=launch.folder, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() - started > seconds:
                state = f"ended with {process.returncode}" if process.returncode is not None else "gave no right answer"
                raise ServerError(f"{state}; its log ends: {_end_of(log)}")
            time.sleep(_POLL_SECONDS)
        yield Server(port, time.monotonic() - started, tag, process.pid)
    finally:
        _stop(process, tag)


def _stop(process: subprocess.Popen[bytes], tag: str) -> None:
    """End all processes of the server: asked first, then told, then killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    for number, seconds in ((signal.SIGTERM, 4.0), (signal.SIGKILL, 4.0), (signal.SIGKILL, 4.0)):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process.poll()
            left = _belonging(tag, process.pid)
            if not left:
                return
            time.sleep(0.05)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _belonging(tag: str, session: int) -> list[int]:
    """Return the living processes of one server."""
    parents: dict[int, int] = {}
    found = set()
    wanted = f"{TAG}={tag}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, parent, _, its_session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if state == "Z":
            continue
        pid = int(entry.name)
        parents[pid] = int(parent)
        if int(its_session) == session or wanted in environment:
            found.add(pid)
    for _ in range(len(parents)):
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            break
        found |= children
    return sorted(found)


def _end_of(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-12:])[-1500:]
