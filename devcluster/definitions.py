"""CustomResourceDefinitions of other projects, from their Go modules, each checked against its checksum and kept."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from devcluster import tools, versions
from devcluster.commands import Command, run, with_retries
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.progress import step


@dataclass(frozen=True)
class Source:
    """Where definitions come from. The checksum is fixed here, because nothing that is built compares it."""

    name: str
    """What the folder in the cache is called, and messages say."""
    module: str
    version: str
    checksum: str
    """As go.sum has it."""
    files: str
    """A pattern below the module's folder; files that hold no definition are left out."""


GATEWAY_API = Source(
    "gateway-api",
    "sigs.k8s.io/gateway-api",
    versions.GATEWAY_API,
    versions.GATEWAY_API_SUM,
    "config/crd/standard/*.yaml",
)
"""The standard channel, as on any cluster that has the Gateway API."""
KEDA = Source(
    "keda",
    "github.com/kedacore/keda/v2",
    versions.KEDA,
    versions.KEDA_SUM,
    "config/crd/bases/keda.sh_*.yaml",
)


def folder(paths: Paths, source: Source) -> Path:
    """The folder with the definitions; fetched when missing."""
    kept = paths.tools / f"{source.name}-{source.version}"
    if not kept.is_dir():
        with step(f"fetched {source.name} {source.version}", always=True):
            with_retries(lambda: _fetch(paths, source, kept))
    return kept


def _fetch(paths: Paths, source: Source, kept: Path) -> None:
    go = tools.find_go(paths)
    paths.tools.mkdir(parents=True, exist_ok=True)
    module = f"{source.module}@{source.version}"
    download = Command([go, "mod", "download", "-json", module], env={"GOWORK": "off"}, cwd=paths.tools)
    found = json.loads(run(download))
    if found["Sum"] != source.checksum:
        raise DevclusterError(
            f"{module} has the checksum {found['Sum']}, and devcluster/versions.py says {source.checksum}"
        )
    with tempfile.TemporaryDirectory(dir=paths.tools) as new:
        output = Path(new) / "definitions"
        output.mkdir()
        for file in sorted(Path(found["Dir"]).glob(source.files)):
            if any(document["kind"] == "CustomResourceDefinition" for document in yaml.safe_load_all(file.read_text())):
                shutil.copyfile(file, output / file.name)
        output.rename(kept)
