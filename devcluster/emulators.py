"""The servers that the slow tests of model addresses speak to, each in the cache, keyed by its version.

Azurite is Microsoft's own emulator of Azure Storage (npm), fake-gcs-server the usual one of Google Cloud Storage (a Go
module), MLflow the real server in an environment of its own, since its requirements are older than ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from devcluster import tools, versions
from devcluster.commands import Command, run_logged, with_retries
from devcluster.paths import Paths
from devcluster.progress import step

GOOGLE_STORAGE = tools.Toolset(
    "fake-gcs-server",
    versions.FAKE_GCS_SERVER,
    ("fake-gcs-server",),
    ("github.com/fsouza/fake-gcs-server",),
)
NEWER_THAN_DEBIAN = "--no-warnings"
"""To node: some of Azurite's parts want a newer one than Debian's, and do without."""


def ensure(paths: Paths) -> None:
    """Install what is missing of all."""
    tools.ensure(paths, GOOGLE_STORAGE, tools.REGISTRY)
    azurite(paths)
    mlflow(paths)


def google_storage(paths: Paths) -> list[str]:
    """Return the command of fake-gcs-server."""
    tools.ensure(paths, GOOGLE_STORAGE)
    return [str(tools.location(paths, "fake-gcs-server"))]


def azurite(paths: Paths) -> list[str]:
    """Return the command of Azurite's blob service."""
    package = f"azurite@{versions.AZURITE}"

    def install(folder: Path) -> None:
        flags = ["--no-audit", "--no-fund", "--no-progress", "--ignore-scripts"]
        run_logged(Command(["npm", "install", "--prefix", folder, *flags, package]), paths.logs / "install-azurite.log")

    folder = _installed(paths, f"azurite-{versions.AZURITE}", install)
    return ["node", NEWER_THAN_DEBIAN, str(folder / "node_modules" / ".bin" / "azurite-blob")]


def mlflow(paths: Paths) -> list[str]:
    """Return the Python that has MLflow."""

    def install(folder: Path) -> None:
        uv = Path(sys.executable).with_name("uv")
        log = paths.logs / "install-mlflow.log"
        run_logged(Command([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder]), log)
        python = folder / "bin" / "python"
        run_logged(Command([uv, "pip", "install", "--python", python, f"mlflow=={versions.MLFLOW}"]), log)

    return [str(_installed(paths, f"mlflow-{versions.MLFLOW}", install) / "bin" / "python")]


def _installed(paths: Paths, name: str, install: Callable[[Path], None]) -> Path:
    """Return the folder of a package, which `install` fills if it is not there as a whole."""
    folder = paths.tools / name
    complete = folder / ".complete"
    if not complete.exists():
        with step(f"installed {name}", always=True):
            folder.mkdir(parents=True, exist_ok=True)
            with_retries(lambda: install(folder))
            complete.touch()
    return folder
