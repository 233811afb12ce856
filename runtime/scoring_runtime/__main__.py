"""The command line: `python -m scoring_runtime serve [PATH]` and `python -m scoring_runtime fetch`.

Pods use the environment alone. By hand every setting is a flag as well, which wins over its variable.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scoring_runtime import logs
from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.process import termination, threads
from scoring_runtime.settings import Settings, read_settings, variable

_ONLY_FETCH = {"model_uri", "model_sha256", "pvc_root"}
_FOR_BOTH = {"model_path", "log_level", "termination_log"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process' exit status."""
    given = vars(_parser().parse_args(arguments))
    command = given.pop("command")
    try:
        settings = read_settings(_merged(os.environ, given))
    except SettingsInvalid as error:
        logs.configure("info")
        log = os.environ.get(variable("termination_log"))
        termination.report(error, Path(log) if log else None)
        return error.exit_code
    if command == "fetch":
        from scoring_runtime.fetch import run

        return run(settings)
    threads.limit_libraries(settings.processes)
    from scoring_runtime.server import serve

    return serve(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scoring_runtime", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="load a model and answer requests")
    serve.add_argument("model_path", nargs="?", metavar="PATH", help="the model file or its folder")
    _add_flags(serve, Settings.model_fields.keys() - _ONLY_FETCH - {"model_path"})
    fetch = commands.add_parser("fetch", help="copy a model to a folder and verify it")
    _add_flags(fetch, _ONLY_FETCH | _FOR_BOTH)
    return parser


def _add_flags(parser: argparse.ArgumentParser, fields: set[str]) -> None:
    for field in Settings.model_fields:
        if field in fields:
            parser.add_argument(f"--{field.replace('_', '-')}", metavar="VALUE", help=f"sets {variable(field)}")


def _merged(environment: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str]:
    return {**environment, **{variable(field): value for field, value in given.items() if value is not None}}


if __name__ == "__main__":
    status = main()
    from scoring_runtime.server import leave

    leave(status)
