"""oci:// addresses, beside the cases of test_fetch_stores.py.

case                                            expected
a digest, an index of platforms                 that manifest; the image for this machine
a folder that oras packed                       unpacked in its place, beside plain files
an image with /models                           what its layers make of that folder, whiteouts included
links, devices, paths that lead out, bombs      ArchiveUnsafe, but none of what is outside /models
damaged blobs and manifests                     ModelChecksumMismatch
something else than a model, zstd               ModelInvalid with what to push
tokens for nobody and for a user                asked for once, and again when they end
basic credentials, wrong ones, no Docker file   sent, ModelAccessDenied, SettingsInvalid
"""

import base64
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.fetch import archives
from scoring_runtime.fetch.client import Wording
from scoring_runtime.fetch.oci_access import Access, DockerConfig
from tests.runtime import emulators
from tests.runtime.fetching import failure, run, set_environment
from tests.runtime.gate import Answer, Asked, Gate, gate_before
from tests.runtime.model_stores import IMAGE_MANIFEST, ContainerRegistry, manifest_of, titled

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(*members: tuple[str, bytes | str | None]) -> bytes:
    """A packed layer: names with contents, with None for folders, with text for the target of a link."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return packed.getvalue()


SYSTEM = layer(
    ("bin", None), ("bin/busybox", b"program"), ("bin/sh", "busybox"), ("models", None), ("models/old", b"1")
)


class Images(ContainerRegistry):
    """A registry with manifests as they are pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.manifests: dict[str, bytes] = {}

    def push(self, reference: str, *layers: bytes, kind: str = LAYER) -> bytes:
        """Push an image of layers; returns its manifest."""
        for number, each in enumerate(layers):
            self.put(f"{reference}/{number}", each)
        described = [{"mediaType": kind, "digest": digest_of(each), "size": len(each)} for each in layers]
        config = {"mediaType": IMAGE_CONFIG, "digest": digest_of(b"{}"), "size": 2}
        return self.push_manifest(reference, manifest_of(described, config))

    def push_manifest(self, reference: str, manifest: bytes) -> bytes:
        self.manifests[reference] = self.manifests[digest_of(manifest)] = manifest
        return manifest

    def answer(self, asked: Asked) -> Answer:
        reference = asked.path.rpartition("/")[2]
        if "/manifests/" in asked.path and reference in self.manifests:
            return Answer(200, self.manifests[reference], {"Content-Type": IMAGE_MANIFEST})
        return super().answer(asked)


@pytest.fixture
def images() -> Images:
    return Images()


@pytest.fixture
def gate(images: Images, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gate_before(images) as gate:
        set_environment(monkeypatch, images.environment(gate.base))
        yield gate


def test_a_digest(gate: Gate, images: Images, tmp_path: Path) -> None:
    images.put("words/x", b"words")
    manifest = images.push_manifest("1", manifest_of([titled("data/words.txt", b"words")]))
    digest = digest_of(manifest)
    assert run(f"oci://{images.host}/team/iris@{digest}", tmp_path / "a") == {"data/words.txt": b"words"}
    assert run(f"oci://{images.host}/team/iris:1@{digest}", tmp_path / "b", model_sha256=digest[7:])


def test_an_index(gate: Gate, images: Images, tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    wanted, other = images.push("a", layer(("models/m", b"this"))), images.push("b", layer(("models/m", b"other")))
    entries = [
        {"digest": digest_of(found), "platform": {"os": "linux", "architecture": architecture}}
        for found, architecture in ((other, "riscv64"), (wanted, machine))
    ]
    index = images.push_manifest("1", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    uri = f"oci://{images.host}/iris:1"
    assert run(uri, tmp_path / "a", model_sha256=digest_of(index)[7:]) == {"m": b"this"}
    images.push_manifest("1", json.dumps({"manifests": [entries[0], entries[0]]}).encode())
    found = failure(uri, tmp_path / "b")
    assert (found.reason, f"no image for linux/{machine}" in found.message) == ("ModelInvalid", True)


def test_a_folder_that_oras_packed(gate: Gate, images: Images, tmp_path: Path) -> None:
    packed = layer(("iris", None), ("iris/model.joblib", b"model"))
    images.put("a/folder", packed)
    images.put("a/file", b"words")
    layers = [titled("iris", packed, **{"io.deis.oras.content.unpack": "true"}), titled("words.txt", b"words")]
    images.push_manifest("1", manifest_of(layers))
    assert run(f"oci://{images.host}/iris:1", tmp_path) == {"iris/model.joblib": b"model", "words.txt": b"words"}


def test_an_image(gate: Gate, images: Images, tmp_path: Path) -> None:
    second = layer(("./models/model.joblib", b"first"), ("/models/data/a", b"a"), ("models/data/b", b"b"))
    third = layer(("models/.wh.old", b""), ("models/model.joblib", b"second"), ("models/data/.wh.a", b""))
    images.push("1", SYSTEM, second, third)
    assert run(f"oci://{images.host}/iris:1", tmp_path) == {"model.joblib": b"second", "data/b": b"b"}


def test_a_folder_that_a_later_layer_empties(gate: Gate, images: Images, tmp_path: Path) -> None:
    images.push("1", SYSTEM, layer(("models/new", b"2"), ("models/.wh..wh..opq", b"")))
    assert run(f"oci://{images.host}/iris:1", tmp_path) == {"new": b"2"}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("models/link", "/etc/passwd")], "ArchiveUnsafe"),
        ([("models/../../evil", b"x")], "ArchiveUnsafe"),
        ([("models/a", b"x"), ("models/a", b"y")], "ArchiveUnsafe"),
        ([("models/a", b"x"), ("models/a/b", b"y")], "ArchiveUnsafe"),
        ([("models/.wh...", b"")], "ArchiveUnsafe"),
        ([("models/data/.wh...", b"")], "ArchiveUnsafe"),
        ([("models/.wh.", b"")], "ArchiveUnsafe"),
        ([("models/zeros", bytes(2_000_000))], "ArchiveUnsafe"),
        ([("srv/model", b"x")], "ModelInvalid"),
    ],
)
@pytest.mark.usefixtures("gate")
def test_layers_that_cannot_be(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[Any], reason: str
) -> None:
    monkeypatch.setattr(archives, "FREE_OF_RATIO_BYTES", 1000)
    images.push("1", layer(*members))
    assert failure(f"oci://{images.host}/iris:1", tmp_path / "to").reason == reason
    assert not (tmp_path / "evil").exists()


def test_a_damaged_blob(gate: Gate, images: Images, tmp_path: Path) -> None:
    manifest = images.push("1", layer(("models/m", b"this")))
    stated = json.loads(manifest)
    stated["layers"][0]["digest"] = digest_of(b"another")

    class Damaged(Images):
        def answer(self, asked: Asked) -> Answer:
            return Answer(200, images.files["1/0"]) if "/blobs/" in asked.path else super().answer(asked)

    damaged = Damaged()
    damaged.push_manifest("1", json.dumps(stated).encode())
    gate.behind = damaged
    found = failure(f"oci://{images.host}/iris:1", tmp_path)
    assert (found.reason, "its source says" in found.message) == ("ModelChecksumMismatch", True)


def test_a_manifest_that_is_another(gate: Gate, images: Images, tmp_path: Path) -> None:
    images.manifests["sha256:" + "0" * 64] = images.push("1", SYSTEM)
    found = failure(f"oci://{images.host}/iris@sha256:{'0' * 64}", tmp_path)
    assert (found.reason, "should be sha256:000" in found.message) == ("ModelChecksumMismatch", True)


def test_what_is_no_model(gate: Gate, images: Images, tmp_path: Path) -> None:
    images.push_manifest("1", manifest_of([{"mediaType": "application/wasm", "digest": digest_of(b""), "size": 0}]))
    found = failure(f"oci://{images.host}/iris:1", tmp_path)
    assert (found.reason, "oras push" in found.message) == ("ModelInvalid", True)
    images.push("1", b"x", kind="application/vnd.oci.image.layer.v1.tar+zstd")
    assert "gzip layers" in failure(f"oci://{images.host}/iris:1", tmp_path).message
    images.push("1", b"no archive")
    assert failure(f"oci://{images.host}/iris:1", tmp_path).reason == "ModelInvalid"


@pytest.mark.parametrize(
    "manifest",
    [
        {"layers": [1]},
        {"layers": [{"mediaType": LAYER}]},
        {"layers": [{"mediaType": LAYER, "digest": "sha256:0", "size": "large"}]},
        {"layers": {"a": 1}},
        {"manifests": 1},
        {"manifests": [{"platform": "linux"}]},
    ],
)
def test_manifests_of_another_form(gate: Gate, images: Images, tmp_path: Path, manifest: Any) -> None:
    images.push_manifest("1", json.dumps(manifest).encode())
    found = failure(f"oci://{images.host}/iris:1", tmp_path)
    assert (found.reason, "push the model again" in found.message) == ("ModelInvalid", True), found


class Guarded(Images):
    """A registry that wants tokens, which it gives itself; for private repositories only to a user."""

    user: str | None = None
    given = 0

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            assert "scope=repository%3Airis%3Apull" in asked.target
            if self.user and asked.headers.get("authorization") != f"Basic {self.user}":
                return Answer(401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "incorrect password"}]}')
            self.given += 1
            return Answer(200, json.dumps({"token": f"token-{self.given}"}).encode())
        if not asked.headers.get("authorization", "").startswith("Bearer token-"):
            realm = f'Bearer realm="http://{asked.headers["host"]}/token",service="registry"'
            return Answer(401, b"", {"WWW-Authenticate": realm})
        return super().answer(asked)


def docker_config(host: str, pair: str = "reader:the-password") -> str:
    return json.dumps({"auths": {host: {"auth": base64.b64encode(pair.encode()).decode()}}})


@pytest.mark.parametrize("private", [False, True])
def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool) -> None:
    guarded = Guarded()
    guarded.push("1", SYSTEM)
    with gate_before(guarded) as gate:
        set_environment(monkeypatch, guarded.environment(gate.base))
        uri = f"oci://{guarded.host}/iris:1"
        if private:
            guarded.user = base64.b64encode(b"reader:the-password").decode()
            found = failure(uri, tmp_path / "nobody")
            assert (found.reason, "kubernetes.io/dockerconfigjson" in found.message) == ("ModelAccessDenied", True)
            monkeypatch.setenv("DOCKER_AUTH_CONFIG", docker_config(guarded.host, "reader:wrong"))
            found = failure(uri, tmp_path / "wrong")
            assert (found.reason, "does not accept the credentials" in found.message) == ("ModelAccessDenied", True)
            monkeypatch.setenv("DOCKER_AUTH_CONFIG", docker_config(guarded.host))
        assert run(uri, tmp_path / "to") == {"old": b"1"}
        assert guarded.given == 1
        sent = [asked.headers.get("authorization", "") for asked in gate.asked if asked.path == "/v2/"]
        assert sent == [""] * len(sent)


def test_a_token_is_asked_for_again_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    with gate_before(Guarded()) as gate:
        access = Access(f"{gate.base}/v2/", "iris", None, Wording("oci://…", "", ""), lambda: now[0])
        values = []
        for seconds in (0, 47, 2):
            now[0] += seconds
            values.append(access.authorization())
    assert values == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_basic_credentials(gate: Gate, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Basic(Images):
        def answer(self, asked: Asked) -> Answer:
            if asked.headers.get("authorization") != f"Basic {base64.b64encode(b'reader:the-password').decode()}":
                return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="registry"'})
            return super().answer(asked)

    registry = Basic()
    registry.push("1", SYSTEM)
    gate.behind = registry
    assert failure(f"oci://{images.host}/iris:1", tmp_path / "a").reason == "ModelAccessDenied"
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", docker_config(f"http://{images.host}/v1/"))
    assert run(f"oci://{images.host}/iris:1", tmp_path / "b") == {"old": b"1"}


@pytest.mark.parametrize("config", ["s3cret", '["s3cret"]', '{"auths": ["s3cret"]}'])
def test_no_docker_file(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", config)
    found = failure("oci://registry.example.com/iris:1", tmp_path)
    assert (found.reason, "DOCKER_AUTH_CONFIG is no" in found.message) == ("SettingsInvalid", True)
    assert "s3cret" not in found.message


@pytest.mark.parametrize(
    ("name", "registry", "found"),
    [
        ("https://index.docker.io/v1/", "docker.io", True),
        ("ghcr.io", "ghcr.io", True),
        ("https://registry.example.com:5000", "registry.example.com:5000", True),
        ("ghcr.io", "ghcr.io.example.com", False),
    ],
)
def test_names_of_registries(name: str, registry: str, found: bool) -> None:
    config = DockerConfig({"DOCKER_AUTH_CONFIG": docker_config(name)})
    assert (config.credentials(registry) is not None) == found
    user = DockerConfig({"DOCKER_AUTH_CONFIG": json.dumps({"auths": {name: {"username": "a", "password": "b"}}})})
    assert (user.credentials(registry) == "Basic YTpi") == found


@pytest.mark.slow
@pytest.mark.process
def test_an_image_in_the_real_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulators.registry(tmp_path) as server:
        layers = [SYSTEM, layer(("models/.wh.old", b""), ("models/model.joblib", b"model"))]
        for each in (b"{}", *layers):
            server.push_blob("team/iris", each)
        described = [{"mediaType": LAYER, "digest": digest_of(each), "size": len(each)} for each in layers]
        config = {"mediaType": IMAGE_CONFIG, "digest": digest_of(b"{}"), "size": 2}
        manifest = manifest_of(described, config)
        server.push_manifest("team/iris", "8", manifest)
        set_environment(monkeypatch, server.environment(server.base))
        assert run(f"oci://{server.host}/team/iris:8", tmp_path / "a") == {"model.joblib": b"model"}
        uri = f"oci://{server.host}/team/iris@{digest_of(manifest)}"
        assert run(uri, tmp_path / "b") == {"model.joblib": b"model"}
        assert failure(f"oci://{server.host}/team/iris:9", tmp_path / "c").reason == "ModelNotFound"
