"""`kubectl scoring serve`: the pods' model server on this machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click


def command_line(path: Path, framework: str, port: int) -> list[str]:
    """Return the model server's command line for `path`; it listens on 127.0.0.1 by its own default."""
    server = [sys.executable, "-m", "scoring_runtime", "serve", str(path)]
    return [*server, "--framework", framework, "--port", str(port), "--auth", "none"]


def replace_this_process(path: Path, framework: str, port: int) -> NoReturn:
    """Become the model server, so that signals, output and exit code are its own."""
    if find_spec("scoring_runtime") is None:
        raise click.ClickException(
            "The model server is not installed here: install scoring-operator with the extras "
            f"`runtime` and `{framework}` (pip install 'scoring-operator[runtime,{framework}]')."
        )
    os.execv(sys.executable, command_line(path, framework, port))  # noqa: S606 - no shell: a list of arguments
