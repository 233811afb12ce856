"""What each image is made of, and the key that changes exactly when the image would."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import base
from devcluster.errors import DevclusterError
from scoring_operator.frameworks import FRAMEWORKS

KEY_LENGTH = 12
IGNORED_FOLDERS = {"__pycache__"}


@dataclass(frozen=True)
class Recipe:
    """One image: its Dockerfile and the files and folders that it copies, relative to the source tree."""

    name: str
    repository: str
    dockerfile: str
    sources: tuple[str, ...]
    tag_prefix: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)

    def files(self, tree: Path) -> list[Path]:
        """Every file the image depends on, relative to `tree`, in a fixed order; the Dockerfile included."""
        found: set[Path] = set()
        for source in (self.dockerfile, *self.sources):
            path = tree / source
            if not path.exists():
                raise DevclusterError(f"the image {self.name} needs {source}, which is not in the source tree")
            members = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
            found.update(one.relative_to(tree) for one in members)
        return sorted(one for one in found if not IGNORED_FOLDERS & set(one.parts) and one.suffix != ".pyc")

    def key(self, tree: Path) -> str:
        """A hash over the names and contents of the files, the build arguments and the base."""
        digest = hashlib.sha256(repr((base.REFERENCE, base.RECIPE, sorted(self.arguments.items()))).encode())
        for file in self.files(tree):
            content = (tree / file).read_bytes()
            digest.update(f"{file.as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()[:KEY_LENGTH]

    def reference(self, tree: Path, registry: str) -> str:
        """The image's full name in a registry (host, or host with a path)."""
        return f"{registry}/{self.repository}:{self.tag_prefix}{self.key(tree)}"

    def stage(self, tree: Path, context: Path) -> None:
        """Copy exactly the image's files into an empty build context.

        Times and modes are fixed, because buildah's layer cache looks at them; so a lock file of another framework, a
        touch or another umask rebuilds nothing.
        """
        for file in self.files(tree):
            target = context / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / file, target)
            target.chmod(0o755 if os.access(tree / file, os.X_OK) else 0o644)
        for entry in sorted(context.rglob("*"), reverse=True):
            if entry.is_dir():
                entry.chmod(0o755)
            os.utime(entry, (0, 0))


def runtime(framework: str) -> Recipe:
    """The model server's image with one framework."""
    return Recipe(
        framework,
        "scoring-operator/runtime",
        "Dockerfile.runtime",
        (f"requirements/runtime-{framework}.txt", "runtime/scoring_runtime"),
        tag_prefix=f"{framework}-",
        arguments={"FRAMEWORKS": framework},
    )


RECIPES = {
    "operator": Recipe(
        "operator",
        "scoring-operator/operator",
        "Dockerfile.operator",
        ("requirements/operator.txt", "operator/scoring_operator"),
    ),
    "object-store": Recipe(
        "object-store",
        "scoring-operator/object-store",
        "examples/object-store/Dockerfile",
        ("requirements/object-store.txt", "examples/object-store/put.py"),
    ),
    "router": Recipe("router", "scoring-operator/router", "Dockerfile.router", ("requirements/router.txt",)),
    **{framework: runtime(framework) for framework in FRAMEWORKS},
}
