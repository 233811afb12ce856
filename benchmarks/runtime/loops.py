"""The bare loops of bare.py, each in a process on the server's core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType

from benchmarks.runtime.environments import ROOT
from benchmarks.runtime.server import ONE_THREAD, SERVER_CORE

_COMMAND = ("taskset", "-c", SERVER_CORE, sys.executable, "-m", "benchmarks.runtime.bare")


def images(name: str, *arguments: str) -> dict[str, float]:
    """Run decode + model, alone; return what it measured."""
    command = [*_COMMAND, "images", name, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


class Predictions:
    """A bare loop of `predict` on a model's 1,000 rows, which runs when asked to, until the block ends."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [*_COMMAND, "predict", name], cwd=ROOT, env={**os.environ, **ONE_THREAD},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def rate(self, seconds: float = 1) -> float:
        """Run for so long; return the calls a second."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{seconds}\n")
        stdin.flush()
        return float(stdout.readline())

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()
