"""Gives disk back: removes images of older sources from the registry, the builder's store and the node.

The current images stay, those that the cluster uses, and the newest of each image with the layers of its build. The
caller holds the locks `cluster` and `images`, so that nothing is built, pushed or started meanwhile; pods keep running.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from devcluster import addons, cluster, registry, retention, tools
from devcluster.builders import Buildah
from devcluster.commands import Command, run
from devcluster.containers import Containerd
from devcluster.errors import DevclusterError
from devcluster.paths import SOURCE_TREE, Paths
from devcluster.progress import say
from devcluster.recipes import RECIPES
from devcluster.registry_store import RegistryStore

WORKLOADS = "pods,deployments,statefulsets,daemonsets,jobs,cronjobs"
GIGABYTE = 1e9


@dataclass(frozen=True)
class Usage:
    """What a running cluster needs."""

    named: Collection[str]
    """Images, without the registry's host, that its workloads name, the operator's settings among them."""

    held: Collection[str]
    """containerd's names of the images that its containers were made of."""


def prune(paths: Paths, newest: int = retention.NEWEST_KEPT) -> None:
    """Remove what is outdated, in the registry, in buildah's store and on the node, and say what it was."""
    usage = _usage(paths)
    host = registry.host(paths)
    current = {retention.without_host(recipe.reference(SOURCE_TREE, host)) for recipe in RECIPES.values()}
    needed = current | set(usage.named if usage else ())
    free = _free(paths)
    wanted = retention.Wanted(list(RECIPES.values()), needed, newest)
    _prune_buildah(paths, _prune_registry(paths, wanted), needed)
    if usage:
        _prune_node(paths, needed, usage.held)
    else:
        say("  node: skipped, since only containerd removes its images and the cluster does not run")
    say(f"==> {_gigabytes(_free(paths) - free)} freed; {_gigabytes(_free(paths))} are free")


def _usage(paths: Paths) -> Usage | None:
    """What the cluster uses; None when it does not run."""
    table = cluster.process_table(paths)
    if not any(table.living(name) for name in cluster.DAEMONS):
        return None
    node = Containerd(paths)
    if not (cluster.is_running(paths) and node.answers()):
        raise DevclusterError(
            "the cluster is only half up, so what its pods use cannot be told; run `make cluster` or "
            "`make cluster-down` first"
        )
    listed = Command([*addons.kubectl_command(paths), "get", WORKLOADS, "-A", "-o", "json"], env=addons.NO_PROXY)
    held = node.held_images()
    of_containers = {retention.without_host(one) for one in held} - {""}
    return Usage(retention.named_in(run(listed, timeout=60)) | of_containers, held)


def _prune_registry(paths: Paths, wanted: retention.Wanted) -> set[str]:
    """Remove tags and the blobs that nothing refers to any more; return the names of what stays."""
    store = RegistryStore(paths.registry)
    stored = store.images()
    staying = retention.kept(stored, wanted)
    if stored:
        tools.ensure(paths, tools.REGISTRY)
        outdated = [image for image in stored if image.name not in staying]
        # While it ran, its collector would take part of an upload for a blob of nobody: so its manual says.
        stopped = registry.stopped(paths, cluster.process_table(paths))
        with _reported(paths, "registry", [image.name for image in outdated]), stopped:
            store.remove(outdated)
            registry.collect_garbage(paths)
    return staying


def _prune_buildah(paths: Paths, in_registry: Collection[str], needed: Collection[str]) -> None:
    if not paths.buildah.exists():
        return
    builder = Buildah(paths)
    names = builder.names()
    staying = {*in_registry, *({retention.without_host(name) for name in names} & set(needed))}
    outdated = retention.outdated_in_store(names, staying)
    with _reported(paths, "buildah", outdated):
        builder.sweep(outdated, _stages_kept(paths, builder.ids(), staying))


def _stages_kept(paths: Paths, ids: Collection[str], staying: Collection[str]) -> set[str]:
    """The stages of the last build of each image that stays, of which the finished image itself has no trace."""
    recipes = [retention.recipe_of(name, RECIPES.values()) for name in staying]
    logs = {paths.logs / f"image-{recipe.name}.log" for recipe in recipes if recipe}
    return {one for log in logs if log.exists() for one in retention.stages(log.read_text(errors="replace"), ids)}


def _prune_node(paths: Paths, needed: Collection[str], held: Collection[str]) -> None:
    """Older images go from the node even when the registry keeps them: to pull them again takes seconds."""
    node = Containerd(paths)
    images: Mapping[str, str] = node.digests()
    outdated = retention.outdated_on_node(images, needed, held)
    with _reported(paths, "node", [name for name in outdated if retention.without_host(name)]):
        node.remove_images(outdated)


@contextmanager
def _reported(paths: Paths, what: str, removed: Collection[str]) -> Iterator[None]:
    before = _free(paths)
    yield
    say(f"  {what}: removed {len(removed)} images, {_gigabytes(_free(paths) - before)} freed")
    for name in removed:
        say(f"    {retention.without_host(name) or name}")


def _free(paths: Paths) -> int:
    return shutil.disk_usage(paths.cache).free


def _gigabytes(size: int) -> str:
    return f"{max(size, 0) / GIGABYTE:.1f} GB"
