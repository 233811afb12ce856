"""Image keys, build contexts and the archive writer.

- the key changes with every file that the image holds, with arguments and base, and with nothing else
- the build context has exactly the keyed files, with fixed times and modes
- .dockerignore lets through what the recipes need, so that Docker builds the same
- .out/images.json never names an image of outdated sources
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import archive, images
from devcluster.errors import DevclusterError
from devcluster.paths import SOURCE_TREE
from devcluster.recipes import RECIPES, Recipe

RECIPE = Recipe("thing", "project/thing", "Dockerfile", ("lock.txt", "code"), arguments={"A": "1"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "code" / "__pycache__").mkdir(parents=True)
    for name in ("Dockerfile", "lock.txt", "other.txt", "code/a.py", "code/__pycache__/a.pyc"):
        (tree / name).write_text(name)
    return tree


@pytest.mark.parametrize("name", ["Dockerfile", "lock.txt", "code/a.py", "code/new.py"])
def test_a_change_of_an_input_changes_the_key(tree: Path, name: str) -> None:
    before = RECIPE.key(tree)
    (tree / name).write_text("changed")
    assert RECIPE.key(tree) != before


@pytest.mark.parametrize("name", ["other.txt", "code/__pycache__/a.pyc"])
def test_a_change_of_anything_else_does_not(tree: Path, name: str) -> None:
    before = RECIPE.key(tree)
    (tree / name).write_text("changed")
    os.utime(tree / "code" / "a.py", (1, 1))
    assert RECIPE.key(tree) == before


def test_a_renamed_file_changes_the_key(tree: Path) -> None:
    before = RECIPE.key(tree)
    (tree / "code" / "a.py").rename(tree / "code" / "b.py")
    assert RECIPE.key(tree) != before


def test_arguments_are_part_of_the_key(tree: Path) -> None:
    assert replace(RECIPE, arguments={"A": "2"}).key(tree) != RECIPE.key(tree)


def test_a_missing_source_is_named(tree: Path) -> None:
    (tree / "lock.txt").unlink()
    with pytest.raises(DevclusterError, match=r"thing needs lock\.txt"):
        RECIPE.key(tree)


def test_the_context_has_the_keyed_files_and_no_others(tree: Path, tmp_path: Path) -> None:
    (tree / "code" / "a.py").chmod(0o600)
    context = tmp_path / "context"
    context.mkdir()
    RECIPE.stage(tree, context)
    staged = sorted(one.relative_to(context) for one in context.rglob("*") if one.is_file())
    assert staged == RECIPE.files(tree) == [Path("Dockerfile"), Path("code/a.py"), Path("lock.txt")]
    assert {one.stat().st_mtime for one in context.rglob("*")} == {0}
    assert (context / "code" / "a.py").stat().st_mode & 0o777 == 0o644
    assert RECIPE.key(context) == RECIPE.key(tree)


def test_references(tree: Path) -> None:
    assert RECIPE.reference(tree, "127.0.0.1:5000") == f"127.0.0.1:5000/project/thing:{RECIPE.key(tree)}"
    assert RECIPES["sklearn"].reference(SOURCE_TREE, "r").startswith("r/scoring-operator/runtime:sklearn-")


@pytest.mark.parametrize("name", RECIPES)
def test_docker_gets_every_file_of_a_recipe(name: str) -> None:
    rules = [line for line in (SOURCE_TREE / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    files = [file for file in RECIPES[name].files(SOURCE_TREE) if "ockerfile" not in file.name]
    assert files
    assert [file for file in files if not _allowed(file, allowed)] == []


def _allowed(file: Path, patterns: Iterable[str]) -> bool:
    return any(candidate.match(pattern) for pattern in patterns for candidate in (file, *file.parents))


def test_frameworks_are_grouped_in_the_document() -> None:
    assert images.references({"operator": "o:1", "sklearn": "s:1"}) == {
        "operator": "o:1",
        "runtime": {"sklearn": "s:1"},
    }


class FakeTarget:
    """Stands for a registry that holds everything: what is looked at is the file that `build` writes."""

    registry = "r.example"
    warmed: tuple[str, ...] = ()
    used: tuple[str, ...] = ()

    def holds(self, reference: str) -> bool:
        return True

    def mark_used(self, reference: str) -> None:
        self.used += (reference,)

    def warm(self, references: Iterable[str]) -> None:
        self.warmed = tuple(references)


def test_outdated_references_are_dropped_and_current_ones_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".out" / "images.json"
    monkeypatch.setattr(images, "REFERENCES_FILE", file)
    target = FakeTarget()
    operator = RECIPES["operator"].reference(SOURCE_TREE, target.registry)
    sklearn = RECIPES["sklearn"].reference(SOURCE_TREE, target.registry)
    file.parent.mkdir()
    file.write_text(json.dumps({"operator": operator, "runtime": {"pytorch": "r.example/runtime:pytorch-0ld"}}))
    assert images.build(target, ["sklearn"]) == {"operator": operator, "runtime": {"sklearn": sklearn}}  # type: ignore[arg-type]
    assert json.loads(file.read_text()) == {"operator": operator, "runtime": {"sklearn": sklearn}}
    assert target.warmed == target.used == (sklearn,)


def test_an_unknown_image_is_refused_by_name() -> None:
    with pytest.raises(DevclusterError, match="no image skleran; there are operator"):
        images.build(FakeTarget(), ["skleran"])  # type: ignore[arg-type]


def test_an_archive_is_a_valid_image_and_the_same_each_time(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    image = archive.ScratchImage("example.com/thing:1", {"/thing": program}, ("/thing",))
    archive.write(image, tmp_path / "one.tar")
    os.utime(program, (5, 5))
    archive.write(image, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        blobs = {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]
    for name, content in blobs.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
    index = json.loads(blobs["index.json"])["manifests"][0]
    assert index["annotations"] == {"io.containerd.image.name": "example.com/thing:1"}
    manifest = json.loads(_blob(blobs, index))
    config = json.loads(_blob(blobs, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(_blob(blobs, manifest["layers"][0]))) as layer:
        assert [(one.name, one.mode) for one in layer.getmembers()] == [("thing", 0o755)]


def _blob(blobs: dict[str, bytes], descriptor: dict) -> bytes:
    content = blobs["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
    assert len(content) == descriptor["size"]
    return content
