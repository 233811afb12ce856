"""What is asked of containerd directly: images on the node, and removing the containers of a cluster that ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import Command, run, succeeds
from devcluster.paths import Paths
from devcluster.tools import location


@dataclass(frozen=True)
class Containerd:
    """containerd by its client program, in the namespace that the kubelet uses."""

    paths: Paths

    def _ctr(self, *words: str | Path) -> Command:
        program = (location(self.paths, "ctr"), "--address", self.paths.containerd_socket)
        return Command([*program, "--namespace", "k8s.io", *words])

    def answers(self) -> bool:
        """Whether containerd serves requests."""
        if not self.paths.containerd_socket.exists():
            return False
        return succeeds(self._ctr("version"), timeout=5)

    def images(self) -> set[str]:
        """The references of the images on the node."""
        return set(run(self._ctr("images", "list", "--quiet")).split())

    def load(self, archive: Path) -> None:
        """Take the image of an OCI archive, under the name written in it."""
        run(self._ctr("images", "import", "--local", archive))

    def pull(self, reference: str) -> None:
        """Pull from the local registry; layers that are on the node are not fetched again."""
        hosts = self.paths.etc / "registries"
        run(self._ctr("images", "pull", "--local", "--hosts-dir", hosts, reference))

    def digests(self) -> dict[str, str]:
        """Name to digest of every image; an image that the kubelet may use has several names."""
        return {row[0]: row[2] for row in self._rows("images")}

    def held_images(self) -> set[str]:
        """The names of the images that containers were made of, also such as have ended and are not removed yet."""
        return {row[1] for row in self._rows("containers")}

    def remove_images(self, names: Sequence[str]) -> None:
        """Remove images by all of their names, and wait until the layers that no other needs are gone."""
        if names:
            run(self._ctr("images", "remove", "--sync", *names))

    def _rows(self, what: str) -> list[list[str]]:
        return [line.split() for line in run(self._ctr(what, "list")).splitlines()[1:]]

    def remove_all_containers(self) -> None:
        """Kill and delete every container of the namespace with its snapshot; images stay."""
        tasks = run(self._ctr("tasks", "list", "--quiet")).split()
        if tasks:
            succeeds(self._ctr("tasks", "delete", "--force", *tasks), timeout=30)
        containers = run(self._ctr("containers", "list", "--quiet")).split()
        if containers:
            succeeds(self._ctr("containers", "delete", *containers), timeout=30)


def references_missing(present: set[str], wanted: Sequence[str]) -> list[str]:
    """Which of the wanted references the node does not hold."""
    return [reference for reference in wanted if reference not in present]
