"""The chart rendered by the real helm: the binary that `make helm` builds and the cluster uses."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import tools
from devcluster.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "scoring-operator"

Manifest = dict[str, Any]


@dataclass
class Rendered:
    """What `helm template` made of a set of values."""

    code: int
    text: str
    error: str

    @cached_property
    def objects(self) -> list[Manifest]:
        assert self.code == 0, self.error
        return [each for each in yaml.load_all(self.text, Loader=yaml.CSafeLoader) if each]

    def all(self, kind: str) -> list[Manifest]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> Manifest:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} objects of kind {kind}"
        return found[0]

    @property
    def environment(self) -> dict[str, Manifest]:
        (container,) = self.one("Deployment")["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each for each in container["env"]}


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def helm() -> Path:
    paths = Paths.from_environment()
    tools.ensure(paths, tools.HELM)
    return paths.bin / "helm"


@pytest.fixture(scope="session")
def render(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render the chart in namespace `scoring-system`; the same values are rendered once in a session."""
    done: dict[str, Rendered] = {}

    def run(values: Mapping[str, Any] | Path = {}, release: str = "scoring-operator") -> Rendered:  # noqa: B006
        text = values.read_text() if isinstance(values, Path) else json.dumps(dict(values))
        if text + release not in done:
            file = tmp_path_factory.mktemp("values") / "values.yaml"
            file.write_text(text)
            command = [helm, "template", release, CHART, "--namespace", "scoring-system", "--values", file]
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            done[text + release] = Rendered(result.returncode, result.stdout, result.stderr)
        return done[text + release]

    return run
