"""Builds and pushes images: with buildah where there is no engine, with Docker where there is one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from devcluster import base
from devcluster.commands import Command, run, run_logged, succeeds, with_retries
from devcluster.paths import Paths
from devcluster.progress import step
from devcluster.recipes import Recipe

HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES_IN_BUILD = "/run/host-certificates.crt"
STAGE_NAME = "localhost/scoring-operator/stage"
"""What the stages that stay are called while the others are removed."""

PUSH_FLAGS = ("--format", "oci", "--compression-format", "zstd", "--compression-level", "1")


class Builder(Protocol):
    """Makes an image of a recipe in a local store and pushes it from there."""

    def has(self, reference: str) -> bool:
        """Whether the local store holds the image."""

    def build(self, recipe: Recipe, tree: Path, reference: str) -> None:
        """Build the image under this name."""

    def push(self, reference: str) -> None:
        """Push it to the registry that its name says."""


@dataclass(frozen=True)
class Buildah:
    """buildah with a store of its own below the cache; no daemon, no namespaces of its own (chroot isolation)."""

    paths: Paths

    def _buildah(self, *words: str | Path) -> Command:
        # buildah keeps its downloads and temporary files below TMPDIR, and an image of several GB needs room for them.
        temporary = self.paths.buildah / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        env = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", "TMPDIR": str(temporary)}
        store = ("--root", self.paths.buildah / "root", "--runroot", self.paths.buildah / "run")
        return Command(["buildah", *store, *words], env=env)

    def has(self, reference: str) -> bool:
        """Whether the store holds the image."""
        return succeeds(self._buildah("inspect", "--type", "image", reference))

    def build(self, recipe: Recipe, tree: Path, reference: str) -> None:
        """Build with the layer cache, from a context of exactly the recipe's files."""
        self._ensure_base()
        log = self.paths.logs / f"image-{recipe.name}.log"
        with tempfile.TemporaryDirectory(dir=self.paths.buildah) as workplace:
            context = Path(workplace) / "context"
            context.mkdir()
            recipe.stage(tree, context)
            flags = ["--layers", "--pull-never", "--timestamp", "0", "--file", str(context / recipe.dockerfile)]
            flags += [f"--build-arg={name}={value}" for name, value in recipe.arguments.items()]
            flags += host_certificates(Path(workplace))
            build = self._buildah("build", *flags, "--tag", reference, context)
            with_retries(lambda: run_logged(build, log))

    def push(self, reference: str) -> None:
        """Push over plain HTTP: the registry is on the loopback."""
        log = self.paths.logs / "push.log"
        push = self._buildah("push", "--tls-verify=false", *PUSH_FLAGS, reference, f"docker://{reference}")
        with_retries(lambda: run_logged(push, log))

    def names(self) -> list[str]:
        """Every name that an image of the store has."""
        return sorted({name for image in self._listed("images") for name in image["names"] or ()})

    def ids(self) -> set[str]:
        """The ids, of twelve digits, of the images that no other was built on: finished ones and ends of stages."""
        return {image["id"] for image in self._listed("images")}

    def sweep(self, outdated: Sequence[str], stages: Iterable[str]) -> None:
        """Remove images by name, and all without a name that none is built on, but the given ones (by id).

        Nothing may be building: working containers that a killed build left go too.
        """
        run(self._buildah("rm", "--all"))
        for stage in stages:  # what has a name is not swept out
            run(self._buildah("tag", stage, f"{STAGE_NAME}:{stage}"))
        if outdated:
            run(self._buildah("rmi", *outdated))
        run(self._buildah("rmi", "--prune"))
        self._take_away([name for name in self.names() if name.startswith(f"{STAGE_NAME}:")])

    def _take_away(self, names: Sequence[str]) -> None:
        """Take names from images that stay. `rmi` removes an image with its only name, so the base gets them first."""
        if names:
            self._ensure_base()
            run(self._buildah("tag", base.REFERENCE, *names))
            run(self._buildah("rmi", *names))

    def _listed(self, *words: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(run(self._buildah(*words, "--json")))
        return listed

    def _ensure_base(self) -> None:
        if self.has(base.REFERENCE):
            return
        tar = base.archive(self.paths)
        with step(f"loaded {base.REFERENCE}"):
            container = run(self._buildah("from", "scratch")).strip()
            run(self._buildah("add", container, tar, "/"))
            run(self._buildah("config", "--cmd", "bash", container))
            run(self._buildah("commit", "--rm", "--timestamp", "0", container, base.REFERENCE))


@dataclass(frozen=True)
class Docker:
    """A Docker engine."""

    paths: Paths

    def has(self, reference: str) -> bool:
        """Whether the engine holds the image."""
        return succeeds(Command(["docker", "image", "inspect", reference]))

    def build(self, recipe: Recipe, tree: Path, reference: str) -> None:
        """Build from the source tree; .dockerignore keeps the context small."""
        arguments = [f"--build-arg={name}={value}" for name, value in recipe.arguments.items()]
        build = Command(["docker", "build", "-f", tree / recipe.dockerfile, *arguments, "-t", reference, tree])
        with_retries(lambda: run_logged(build, self.paths.logs / f"image-{recipe.name}.log"))

    def push(self, reference: str) -> None:
        """Push to the registry in the name, with the credentials of `docker login`."""
        with_retries(lambda: run_logged(Command(["docker", "push", reference]), self.paths.logs / "push.log"))


def engine_answers() -> bool:
    """Whether a Docker engine, and not only its client, is there."""
    return succeeds(Command(["docker", "version", "--format", "{{.Server.Version}}"]), timeout=10)


def host_certificates(workplace: Path) -> Iterable[str]:
    """Mounts that let pip in the build trust what this machine trusts, such as a company's proxy; none when unusual.

    They are not part of the image: the image has its own ca-certificates.
    """
    bundle = Path(os.environ.get("SSL_CERT_FILE") or HOST_CERTIFICATES)
    if not bundle.is_file():
        return []
    settings = workplace / "pip.conf"
    settings.write_text(f"[global]\ncert = {CERTIFICATES_IN_BUILD}\ntimeout = 60\nretries = 8\n")
    return [f"--volume={bundle.resolve()}:{CERTIFICATES_IN_BUILD}:ro", f"--volume={settings}:/etc/pip.conf:ro"]
