"""The chart rendered by the real helm: the binary that `make helm` builds and the cluster uses."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import tools
from devcluster.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "scoring-operator"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What `helm template` made of a set of values."""

    code: int
    text: str
    error: str

    @property
    def objects(self) -> list[Manifest]:
        assert self.code == 0, self.error
        return [each for each in yaml.safe_load_all(self.text) if each]

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
    """Render the chart as release `scoring-operator` in namespace `scoring-system` (or as the keywords say)."""

    def run(values: Mapping[str, Any] | Path = {}, release: str = "scoring-operator") -> Rendered:  # noqa: B006
        if not isinstance(values, Path):
            folder = tmp_path_factory.mktemp("values")
            (folder / "values.yaml").write_text(yaml.safe_dump(dict(values)))
            values = folder / "values.yaml"
        command = [helm, "template", release, CHART, "--namespace", "scoring-system", "--values", values]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return Rendered(done.returncode, done.stdout, done.stderr)

    return run
