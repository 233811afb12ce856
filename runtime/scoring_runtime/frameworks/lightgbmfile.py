"""LightGBM's model files before LightGBM itself looks at them: whole, of a version it reads, and with which categories.

A file that is cut off in a tree ends LightGBM's process instead of raising an error, so this is looked at first.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import lightgbm as lgb

from scoring_runtime.errors import ModelIncompatible, ModelInvalid, StartupError
from scoring_runtime.frameworks.causes import one_line, too_large
from scoring_runtime.frameworks.features import Categories

FORMAT = 4
"""The newest version of the format that LightGBM 4 writes and reads."""
_FIRST_LINE, _FIRST_TREE, _END = b"tree", b"\n\nTree=0\n", b"end of trees"


@dataclass(frozen=True)
class Header:
    """What the lines before the first tree say."""

    fields: Mapping[str, str]

    @property
    def objective(self) -> str:
        """Its name, without its parameters; empty for one that the model's maker wrote."""
        return self.fields.get("objective", "").partition(" ")[0]

    @property
    def categorical(self) -> list[int]:
        """The numbers of the features that trees ask for their category."""
        infos = self.fields.get("feature_infos", "").split()
        return [number for number, info in enumerate(infos) if info != "none" and not info.startswith("[")]


def read_header(file: Path) -> Header:
    """Return the head of a file that is whole. Raises ModelInvalid and ModelIncompatible."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[: len(_FIRST_LINE)] != _FIRST_LINE:
            raise ModelInvalid(f"{file.name} is not a LightGBM model: its first line is not `tree`; see save_model")
        end = content.find(_FIRST_TREE)
        if end < 0:
            raise _cut_off(file, "has no tree")
        lines = content[:end].decode("utf-8", "replace").split("\n")
        header = Header(dict(line.split("=", 1) for line in lines if "=" in line))
        _check_version(file, header)
        _check_trees(file, header, content, end + 2)
    return header


def _check_version(file: Path, header: Header) -> None:
    version = header.fields.get("version", "").removeprefix("v")
    if version.isdigit() and int(version) > FORMAT:
        raise ModelIncompatible(
            f"{file.name} was saved in version {version} of LightGBM's format and this image has LightGBM "
            f"{lgb.__version__}, which reads up to {FORMAT}; use an image with a newer LightGBM"
        )


def _check_trees(file: Path, header: Header, content: mmap.mmap, start: int) -> None:
    """Look whether each tree is where the sizes in the head say, and the end behind the last one."""
    sizes = header.fields.get("tree_sizes", "").split()
    if not sizes or not all(size.isdigit() for size in sizes):
        raise _cut_off(file, "does not say how long its trees are")
    places = list(accumulate(map(int, sizes), initial=start))
    for number, (place, following) in enumerate(pairwise(places)):
        name = f"Tree={number}\n".encode()
        if content[place : place + len(name)] != name or content[following - 1 : following] != b"\n":
            raise _cut_off(file, f"tree {number} of {len(sizes)} is not where it should be")
    if content[places[-1] : places[-1] + len(_END)] != _END:
        raise _cut_off(file, "its end is missing")


def _cut_off(file: Path, why: str) -> ModelInvalid:
    return ModelInvalid(f"{file.name} is cut off, or it was edited: {why}; copy it again")


def categories_of(header: Header, values: Sequence[Categories] | None) -> tuple[dict[int, Categories], str]:
    """Return the values of the categories by feature, of the lists that the file has, and a sentence if that fails.

    The file does not say which columns of the data frame the lists belong to: as many as are categorical for the trees,
    in their order, unless a column was constant or its categories had an order.
    """
    columns = header.categorical
    if not values:
        return {}, ""
    if len(columns) == len(values):
        return dict(zip(columns, values, strict=True)), ""
    return {}, (
        f"the model was trained on {len(values)} columns of categories and its trees use {len(columns)}, so it cannot "
        "be told which is which: send the numbers of the categories (the data frame's cat.codes), not their values"
    )


def explained(file: Path, error: Exception) -> StartupError:
    """Return the StartupError for what loading raised, by cause."""
    said = one_line(error)
    if isinstance(error, MemoryError) or "bad_alloc" in said:
        return too_large(file.name)
    return ModelInvalid(f"{file.name} is not a model that LightGBM {lgb.__version__} reads, or it is damaged: {said}")
