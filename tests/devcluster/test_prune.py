"""What `prune` removes, and what it leaves.

- the registry: current, used and newest tags stay; older ones and what was pushed by hand go
- an image that was asked for again is newer than one that was only pushed later
- the builder's store and the node: the same, but nothing of other registries
- the stages of a build are read from its log
- the registry's folder: tags and repositories go, blobs are left to its own collector
- a cluster of which only some daemons run is refused
- `clean` leaves alone what others keep in the cache folder
- (slow) a real registry, asked by its clients before and after
- (slow) a real builder: the next build finds every step of the kept image
"""

import hashlib
import http.client
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devcluster import base, prune, registry, teardown, tools, versions
from devcluster.builders import Buildah
from devcluster.cluster import process_table
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.processes import identity
from devcluster.recipes import Recipe
from devcluster.registry_store import LINK, TAGS, RegistryStore
from devcluster.retention import (
    Stored,
    Wanted,
    kept,
    named_in,
    outdated_in_store,
    outdated_on_node,
    recipe_of,
    stages,
    without_host,
)

OPERATOR = Recipe("operator", "p/operator", "Dockerfile", ())
SKLEARN = Recipe("sklearn", "p/runtime", "Dockerfile", (), tag_prefix="sklearn-")
ONNX = Recipe("onnx", "p/runtime", "Dockerfile", (), tag_prefix="onnx-")
RECIPES = (OPERATOR, SKLEARN, ONNX)


def key(number: int) -> str:
    return f"{number:012x}"


STORED = [
    *(Stored("p/operator", key(number), used=number) for number in range(1, 6)),
    *(Stored("p/runtime", f"sklearn-{key(number)}", used=10 - number) for number in range(1, 4)),
    Stored("p/runtime", f"onnx-{key(9)}", used=1),
    Stored("p/operator", "six-1", used=99),
    Stored("other/x", "t", used=99),
]


def test_the_newest_of_each_image_stay_and_what_is_needed() -> None:
    wanted = Wanted(RECIPES, {f"p/operator:{key(1)}", "other/x:t", "p/operator:not-there"}, newest=2)
    assert kept(STORED, wanted) == {
        *(f"p/operator:{key(number)}" for number in (1, 4, 5)),
        *(f"p/runtime:sklearn-{key(number)}" for number in (1, 2)),
        f"p/runtime:onnx-{key(9)}",
        "other/x:t",
    }


@pytest.mark.parametrize(("newest", "count"), [(0, 0), (1, 3), (3, 7), (100, 9)])
def test_how_many_stay(newest: int, count: int) -> None:
    assert len(kept(STORED, Wanted(RECIPES, (), newest))) == count


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        (f"p/operator:{key(1)}", OPERATOR),
        (f"p/runtime:sklearn-{key(1)}", SKLEARN),
        (f"p/runtime:onnx-{key(1)}", ONNX),
        (f"p/runtime:keras-{key(1)}", None),
        (f"p/other:{key(1)}", None),
        ("p/operator:six-1", None),
        ("p/operator:latest", None),
        ("p/operator:" + "g" * 12, None),
    ],
)
def test_whose_image_it_is(name: str, recipe: Recipe | None) -> None:
    assert recipe_of(name, RECIPES) == recipe


def test_the_host_of_a_reference() -> None:
    assert without_host("127.0.0.1:5000/p/operator:1") == "p/operator:1"
    assert without_host("127.0.0.1:40123/p/operator:1") == "p/operator:1"
    assert without_host("docker.io/library/debian:trixie-slim") == ""
    assert without_host("sha256:" + "0" * 64) == ""


def test_images_that_workloads_name_are_found_in_their_settings_too() -> None:
    settings = json.dumps({"sklearn": "127.0.0.1:5000/p/runtime:sklearn-2", "keras": "example.com/p/runtime:keras-1"})
    pod = {"containers": [{"image": "127.0.0.1:5000/p/operator:1", "env": [{"name": "IMAGES", "value": settings}]}]}
    assert named_in(json.dumps(pod)) == {"p/operator:1", "p/runtime:sklearn-2"}


def test_the_builder_keeps_what_the_registry_keeps_and_its_base() -> None:
    names = ["docker.io/library/debian:trixie-slim", "127.0.0.1:5000/p/operator:1", "127.0.0.1:5001/p/operator:2"]
    assert outdated_in_store(names, {"p/operator:1"}) == ["127.0.0.1:5001/p/operator:2"]


def test_an_image_leaves_the_node_with_all_of_its_names_or_not_at_all() -> None:
    images = {
        "127.0.0.1:5000/p/operator:old": "sha256:a",
        "sha256:old": "sha256:a",
        "127.0.0.1:5000/p/operator:new": "sha256:b",
        "sha256:new": "sha256:b",
        "127.0.0.1:5000/p/router:old": "sha256:c",
        "127.0.0.1:5000/p/router:same": "sha256:c",
        "127.0.0.1:5000/p/runtime:held": "sha256:d",
        "sha256:held": "sha256:d",
        "docker.io/library/traefik:v3": "sha256:e",
        "sha256:traefik": "sha256:e",
    }
    gone = outdated_on_node(images, {"p/operator:new", "p/router:same"}, {"sha256:held"})
    assert gone == ["127.0.0.1:5000/p/operator:old", "sha256:old"]


def test_stages_are_read_from_the_log_of_a_build() -> None:
    log = (
        "[1/2] STEP 1/2: FROM base\n"
        f"--> Using cache {'a' * 64}\n--> {'a' * 11}\n"
        f"[2/2] STEP 1/2: FROM {'b' * 64}\n--> {'c' * 11}\nsays --> {'d' * 11}\n"
    )
    assert stages(log, [one * 12 for one in "abcd"]) == {"a" * 12, "c" * 12}


def put(store: RegistryStore, image: Stored) -> Path:
    link = store.repositories / image.repository / TAGS / image.tag / LINK
    link.parent.mkdir(parents=True)
    link.write_text("sha256:0")
    os.utime(link, (image.used, image.used))
    return link


def test_the_registrys_folder(tmp_path: Path) -> None:
    store = RegistryStore(tmp_path)
    assert store.images() == []
    found = [Stored("other/deep/x", "t", 5), Stored("p/operator", "1", 7), Stored("p/operator", "2", 6)]
    links = {image: put(store, image) for image in found}
    assert store.images() == found
    store.mark_used("p/operator:2")
    store.mark_used("p/operator:missing")
    assert max(store.images(), key=lambda image: image.used).tag == "2"
    store.remove(found[:2])
    assert [image.name for image in store.images()] == ["p/operator:2"]
    assert links[found[2]].exists()
    assert sorted(one.name for one in store.repositories.iterdir()) == ["p"]


def test_clean_leaves_what_is_not_of_the_cluster(paths: Paths) -> None:
    others = [paths.cache / "bench" / "environments", paths.cache / "frameworks" / "tensorflow"]
    for folder in (*paths.owned, *others):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    teardown.remove_caches(paths)
    assert sorted(one.name for one in paths.cache.iterdir()) == ["bench", "frameworks"]
    assert all((folder / "file").exists() for folder in others)


def test_a_cluster_that_is_half_up_is_not_guessed_about(paths: Paths) -> None:
    paths.processes.mkdir(parents=True)
    this_process = identity(os.getpid())
    (paths.processes / "etcd.json").write_text(json.dumps(vars(this_process)))
    with pytest.raises(DevclusterError, match=r"half up.*make cluster"):
        prune.prune(paths)


# With the real programs: the registry's, which `make cluster` builds, and buildah.


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Paths]:
    """A registry of the test's own, on a port of its own, with the program of the machine's cluster."""
    paths = Paths(tmp_path / "cache")
    paths.cache.mkdir()
    built = Paths.from_environment().tools
    built.mkdir(parents=True, exist_ok=True)
    paths.tools.symlink_to(built)
    tools.ensure(paths, tools.REGISTRY)
    table = process_table(paths)
    registry.start(paths, table)
    yield paths
    table.stop(["registry"])


def ask(paths: Paths, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", registry.port(paths), timeout=30)) as connection:
        connection.request(method, path, body, {"Content-Type": kind, "Accept": registry.MANIFEST_TYPES})
        response = connection.getresponse()
        response.read()
        if response.status == http.client.ACCEPTED:  # an upload: its bytes go where the answer says
            location = response.headers["Location"]
            target = location[location.index("/v2/") :]
            return ask(paths, "PUT", f"{target}&digest={digest(body)}", body)
        return response.status


def digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def push(paths: Paths, repository: str, tag: str, layers: list[bytes]) -> None:
    config = json.dumps({"os": "linux", "tag": tag}).encode()
    for blob in (config, *layers):
        assert ask(paths, "POST", f"/v2/{repository}/blobs/uploads/", blob) == http.client.CREATED
    parts = [{"mediaType": "application/octet-stream", "digest": digest(one), "size": len(one)} for one in layers]
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": 1},
        "layers": parts,
    }
    manifest["config"]["size"] = len(config)  # type: ignore[index]
    body = json.dumps(manifest).encode()
    assert ask(paths, "PUT", f"/v2/{repository}/manifests/{tag}", body, kind) == http.client.CREATED


@pytest.mark.slow
@pytest.mark.process
def test_a_real_registry_serves_what_stays_and_takes_again_what_went(
    running: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    repository, old, new = "scoring-operator/operator", key(1), key(2)
    push(running, repository, old, [b"shared", b"old"])
    push(running, repository, new, [b"shared", b"new"])
    push(running, "other/x", "t", [b"shared", b"foreign"])
    RegistryStore(running.registry).mark_used(f"{repository}:{new}")
    before = process_table(running).living("registry")
    prune.prune(running, newest=1)
    said = capsys.readouterr().err
    assert "registry: removed 2 images" in said
    assert f"    other/x:t\n    {repository}:{old}\n" in said
    assert "node: skipped" in said
    prune.prune(running, newest=1)
    assert "registry: removed 0 images" in capsys.readouterr().err
    assert process_table(running).living("registry") not in (None, before)
    host = registry.host(running)
    assert registry.holds(running, f"{host}/{repository}:{new}")
    assert not registry.holds(running, f"{host}/{repository}:{old}")
    assert not registry.holds(running, f"{host}/other/x:t")
    for blob, status in ((b"shared", 200), (b"new", 200), (b"old", 404)):
        assert ask(running, "GET", f"/v2/{repository}/blobs/{digest(blob)}") == status
    kept_blobs = list(running.registry.glob("docker/registry/v2/blobs/sha256/*/*/data"))
    assert len(kept_blobs) == 4  # a manifest, its configuration and two layers
    push(running, repository, old, [b"shared", b"old"])
    assert registry.holds(running, f"{host}/{repository}:{old}")


DOCKERFILE = """\
FROM scratch AS tools
COPY tools.txt /
FROM scratch AS environment
COPY --from=tools /tools.txt /environment.txt
COPY lock.txt /
ENV A=1
FROM scratch AS code
COPY code.txt /
FROM environment
COPY --from=code /code.txt /
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_real_builder_finds_the_steps_of_the_kept_image_again(paths: Paths, tmp_path: Path) -> None:
    small = paths.archives / f"debian-{versions.DEBIAN}-slim-{base.RECIPE}.tar"
    small.parent.mkdir(parents=True)
    with tarfile.open(small, "w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Dockerfile").write_text(DOCKERFILE)
    (tree / "tools.txt").write_text("tools")
    recipe = Recipe("thing", "p/thing", "Dockerfile", ("tools.txt", "lock.txt", "code.txt"))
    builder = Buildah(paths)

    def build(name: str, lock: str, code: str) -> str:
        (tree / "lock.txt").write_text(lock)
        (tree / "code.txt").write_text(code)
        builder.build(recipe, tree, f"127.0.0.1:5000/p/thing:{name}")
        return (paths.logs / "image-thing.log").read_text()

    build("old", "first", "one")
    log = build("kept", "second", "two")
    outdated = outdated_in_store(builder.names(), {"p/thing:kept"})
    for _ in range(2):
        builder.sweep(outdated, stages(log, builder.ids()))
        outdated = []
    assert sorted(builder.names()) == ["127.0.0.1:5000/p/thing:kept", "docker.io/library/debian:trixie-slim"]
    again = build("again", "second", "two")
    assert again.count("Using cache") == again.count("\n--> ") / 2 == 6
    assert build("newer", "second", "three").count("Using cache") == 4  # all but the code and its copy
    assert not builder.has("127.0.0.1:5000/p/thing:old")
