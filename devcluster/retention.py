"""Which images stay when the cluster's disk is given back: decisions on what is there, without touching it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from devcluster import layout
from devcluster.recipes import KEY_LENGTH, Recipe

NEWEST_KEPT = 2
"""Tags of each image that stay beside the current one: who switches between two branches rebuilds nothing."""

LOCAL_REGISTRY = re.compile(rf"{re.escape(layout.LOOPBACK)}:\d+/")
STAGE_IN_LOG = re.compile(r"^--> (?:Using cache )?([0-9a-f]{11,64})$", re.MULTILINE)
SHORTEST_ID = 11
"""How much of an image's id buildah's log shows at least."""


@dataclass(frozen=True)
class Stored:
    """An image of the registry: repository and tag, and when it was last asked for (seconds since 1970)."""

    repository: str
    tag: str
    used: float = 0

    @property
    def name(self) -> str:
        """What follows the registry's host in a reference."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Wanted:
    """What has to stay, and of what there are tags to choose from. Names are without the registry's host."""

    recipes: Collection[Recipe]
    needed: Collection[str]
    """The images of today's sources, and those that the cluster uses."""

    newest: int = NEWEST_KEPT


def recipe_of(name: str, recipes: Iterable[Recipe]) -> Recipe | None:
    """The recipe that gave an image its name; None for what somebody pushed by hand."""
    repository, _, tag = name.rpartition(":")
    for recipe in recipes:
        key = tag.removeprefix(recipe.tag_prefix)
        made_here = tag.startswith(recipe.tag_prefix) and re.fullmatch(rf"[0-9a-f]{{{KEY_LENGTH}}}", key)
        if repository == recipe.repository and made_here:
            return recipe
    return None


def kept(stored: Iterable[Stored], wanted: Wanted) -> set[str]:
    """The names of the registry's images that stay: the needed ones, and the newest of each recipe."""
    found = list(stored)
    staying = {image.name for image in found if image.name in wanted.needed}
    for recipe in wanted.recipes:
        tags = [image for image in found if recipe_of(image.name, wanted.recipes) == recipe]
        newest = sorted(tags, key=lambda image: (image.used, image.tag), reverse=True)[: wanted.newest]
        staying.update(image.name for image in newest)
    return staying


def without_host(reference: str) -> str:
    """The name of an image of the local registry, whichever port that had; empty for an image from elsewhere."""
    found = LOCAL_REGISTRY.match(reference)
    return reference[found.end() :] if found else ""


def named_in(text: str) -> set[str]:
    """The names of the local registry's images that a text has, such as the JSON of pods."""
    return set(re.findall(rf"{LOCAL_REGISTRY.pattern}([\w./-]+:[\w.-]+)", text))


def outdated_in_store(references: Iterable[str], staying: Collection[str]) -> list[str]:
    """Which of a builder's references go: those of the local registry whose image does not stay."""
    return sorted(one for one in references if (name := without_host(one)) and name not in staying)


def outdated_on_node(images: Mapping[str, str], needed: Collection[str], held: Collection[str]) -> list[str]:
    """Which names of containerd's images (name to digest) go.

    The kubelet knows an image by several names: all go, or none. What a container holds by any of them stays, and so
    does what is not of the local registry.
    """
    names_of: dict[str, list[str]] = {}
    for name, digest in images.items():
        names_of.setdefault(digest, []).append(name)
    gone: list[str] = []
    for names in names_of.values():
        local = {without_host(name) for name in names} - {""}
        if local and not local & set(needed) and not set(names) & set(held):
            gone += names
    return sorted(gone)


def stages(log: str, ids: Iterable[str]) -> set[str]:
    """Which of a builder's images (by their ids, of at least eleven digits) the log of a build names."""
    seen = {one[:SHORTEST_ID] for one in STAGE_IN_LOG.findall(log)}
    return {one for one in ids if one[:SHORTEST_ID] in seen}
