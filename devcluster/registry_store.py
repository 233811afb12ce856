"""The registry's folder as the registry program lays it out.

https://distribution.github.io/distribution/ describes the storage: `repositories` has a folder for each tag with a link
to its manifest, `blobs` has the bytes once, however many images share them. Only the tags are touched here; which blobs
nobody refers to any more is for the registry's own `garbage-collect` to say.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from devcluster.retention import Stored

TAGS = "_manifests/tags"
LINK = "current/link"


@dataclass(frozen=True)
class RegistryStore:
    """What the registry keeps below its root directory."""

    folder: Path

    @property
    def repositories(self) -> Path:
        """The folder of the repositories."""
        return self.folder / "docker/registry/v2/repositories"

    def images(self) -> list[Stored]:
        """Every tag, with the time at which it was last pushed or marked as used."""
        found = []
        for link in self.repositories.rglob(f"{TAGS}/*/{LINK}"):
            tag = link.parents[1]
            repository = tag.parents[2].relative_to(self.repositories)
            found.append(Stored(repository.as_posix(), tag.name, link.stat().st_mtime))
        return sorted(found, key=lambda image: image.name)

    def mark_used(self, name: str) -> None:
        """Make `repository:tag` the newest of its image; one that is not there is left alone."""
        repository, _, tag = name.rpartition(":")
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.repositories / repository / TAGS / tag / LINK)

    def remove(self, images: Collection[Stored]) -> None:
        """Remove tags, and repositories that have none left. The registry must not run: it may be serving them."""
        for image in images:
            shutil.rmtree(self.repositories / image.repository / TAGS / image.tag)
        tagged = {image.repository for image in self.images()}
        for repository in {image.repository for image in images} - tagged:
            for part in self.repositories.joinpath(repository).glob("_*"):
                shutil.rmtree(part)
            self._remove_empty(self.repositories / repository)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.repositories and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
