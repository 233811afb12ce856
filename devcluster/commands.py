"""Running other programs: output kept for the error message, network steps tried again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.progress import say

OUTPUT_LINES_SHOWN = 25


@dataclass(frozen=True)
class Command:
    """A program to run: arguments, variables added to the environment, working directory and standard input."""

    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stdin: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment; with the folders of nft, ip and debootstrap, which an ordinary PATH may lack."""
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        return {**os.environ, "PATH": path, **self.env}

    def __str__(self) -> str:
        return " ".join(str(word) for word in self.argv)


class CommandError(DevclusterError):
    """A program exited non-zero; carries the end of its output."""

    def __init__(self, command: Command, returncode: int, output: str) -> None:
        self.returncode = returncode
        self.output = output
        tail = "\n".join(output.strip().splitlines()[-OUTPUT_LINES_SHOWN:])
        super().__init__(f"`{command}` failed with exit status {returncode}:\n{tail}")


def run(command: Command, *, timeout: float | None = None) -> str:
    """Run to the end and return standard output; raise CommandError with both outputs when it exits non-zero."""
    try:
        done = subprocess.run(
            [str(word) for word in command.argv],
            env=command.environment,
            cwd=command.cwd,
            input=command.stdin if command.stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise DevclusterError(f"`{command.argv[0]}` is not installed") from None
    except subprocess.TimeoutExpired:
        raise DevclusterError(f"`{command}` did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise CommandError(command, done.returncode, done.stdout + done.stderr)
    return done.stdout


def run_logged(command: Command, log: Path) -> None:
    """Run to the end with both outputs in `log`; raise CommandError with the end of it when it exits non-zero."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            [str(word) for word in command.argv],
            env=command.environment,
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise CommandError(command, done.returncode, log.read_text(errors="replace"))


def succeeds(command: Command, *, timeout: float = 20) -> bool:
    """Whether the program exists and exits 0 in time."""
    try:
        run(command, timeout=timeout)
    except DevclusterError:
        return False
    return True


def with_retries(action: Callable[[], None], *, tries: int = 4, pause: float = 3) -> None:
    """Do something that needs the network, again after a growing pause (seconds) when it fails."""
    for attempt in range(1, tries + 1):
        try:
            return action()
        except CommandError as failure:
            if attempt == tries:
                raise
            say(f"  try {attempt} of {tries} failed ({str(failure).splitlines()[-1][:160]}); again in {pause:.0f} s")
            time.sleep(pause)
            pause *= 2
    return None


def wait_until(true: Callable[[], bool], *, timeout: float, what: str, every: float = 0.1) -> None:
    """Poll until `true()`; raise a DevclusterError that names `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise DevclusterError(f"{what} after {timeout:.0f} s")
        time.sleep(every)
