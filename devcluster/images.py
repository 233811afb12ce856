"""Builds the project's images where they changed, and writes their references where the demo and the tests look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from devcluster.builders import Builder
from devcluster.errors import DevclusterError
from devcluster.paths import SOURCE_TREE
from devcluster.progress import say, step
from devcluster.recipes import RECIPES
from devcluster.target import Target
from scoring_operator.frameworks import FRAMEWORKS

REFERENCES_FILE = SOURCE_TREE / ".out" / "images.json"


def build(target: Target, names: Iterable[str], *, warm: bool = True) -> dict[str, Any]:
    """Build, push and, with `warm`, put on the node what the names say (all when empty); return all references.

    What the registry holds already is not built. References of images that were not asked for are kept when their
    sources have not changed since, so that the file never names an outdated image.
    """
    wanted = _chosen(names)
    current = {name: recipe.reference(SOURCE_TREE, target.registry) for name, recipe in RECIPES.items()}
    for name in wanted:
        _ensure(target, name, current[name])
        target.mark_used(current[name])
    if warm:
        target.warm([current[name] for name in wanted])
    known = {**_recorded(REFERENCES_FILE), **{name: current[name] for name in wanted}}
    document = references({name: ref for name, ref in known.items() if ref == current.get(name)})
    REFERENCES_FILE.parent.mkdir(parents=True, exist_ok=True)
    REFERENCES_FILE.write_text(json.dumps(document, indent=2) + "\n")
    return document


def prepare(target: Target, names: Iterable[str]) -> None:
    """Build what the names say (all when empty) into the builder's own store; needs neither cluster nor registry."""
    for name in _chosen(names):
        reference = RECIPES[name].reference(SOURCE_TREE, target.registry)
        if not target.holds(reference):
            _build(target.builder, name, reference)


def references(by_name: Mapping[str, str]) -> dict[str, Any]:
    """The document of .out/images.json: frameworks are grouped below `runtime`."""
    document: dict[str, Any] = {name: ref for name, ref in by_name.items() if name not in FRAMEWORKS}
    document["runtime"] = {name: by_name[name] for name in FRAMEWORKS if name in by_name}
    return document


def _recorded(file: Path) -> dict[str, str]:
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    runtimes: dict[str, str] = document.pop("runtime", {})
    return {**document, **runtimes}


def _chosen(names: Iterable[str]) -> list[str]:
    wanted = list(names) or list(RECIPES)
    unknown = sorted(set(wanted) - set(RECIPES))
    if unknown:
        raise DevclusterError(f"there is no image {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    return wanted


def _ensure(target: Target, name: str, reference: str) -> None:
    if target.holds(reference):
        return
    _build(target.builder, name, reference)
    with step(f"pushed {name}", always=True):
        target.push(reference)


def _build(builder: Builder, name: str, reference: str) -> None:
    if builder.has(reference):
        return
    say(f"  building {reference} ...")
    with step(f"built {name}", always=True):
        builder.build(RECIPES[name], SOURCE_TREE, reference)
