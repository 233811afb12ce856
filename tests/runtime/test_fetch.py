"""From an address to a verified folder: file and pvc addresses, checksums, placement, retries, and the command.

case                                        expected
a file, a folder, links inside it           the same content in the destination
links out of the folder                     ArchiveUnsafe
nothing there, not readable                 ModelNotFound, ModelAccessDenied
a right, a wrong sha256                     placed; ModelChecksumMismatch and nothing placed
fetched again                               not read again; another address or checksum replaces it
interrupted in the middle of placing        the next fetch completes it
something of somebody else in the way       refused, nothing removed
a source that breaks off                    goes on where it broke, gives up after some attempts
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.errors import ModelSourceUnavailable, SettingsInvalid, StartupError
from scoring_runtime.fetch import SCHEMES, fetch
from scoring_runtime.fetch.download import Retries, download
from scoring_runtime.fetch.placement import RECORD, Destination
from scoring_runtime.fetch.source import Listing, RemoteFile, shown
from scoring_runtime.settings import Settings

AT_ONCE = Retries(attempts=3, first_pause_seconds=0)
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of three files, one of them in a folder of its own, with names that sort differently by locale."""
    root = tmp_path / "source"
    (root / "sub").mkdir(parents=True)
    (root / "model.joblib").write_bytes(b"weights" * 1000)
    (root / "Zeta").write_bytes(b"")
    (root / "sub" / "vocabulary.txt").write_bytes(b"words")
    return root


def settings_for(uri: str, destination: Path, **values: Any) -> Settings:
    return Settings(model_uri=uri, model_path=destination, **values)


def content(root: Path) -> dict[str, bytes]:
    """The files below a folder, without the fetch's own record."""
    paths = (path for path in root.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def failure(uri: str, destination: Path, **values: Any) -> tuple[str, str]:
    with pytest.raises(StartupError) as raised:
        fetch(settings_for(uri, destination, **values), AT_ONCE)
    assert not destination.exists() or content(destination) == {}
    return raised.value.reason, raised.value.message


def test_a_file(folder: Path, tmp_path: Path) -> None:
    fetch(settings_for(f"file://{folder}/model.joblib", tmp_path / "to"))
    assert content(tmp_path / "to") == {"model.joblib": b"weights" * 1000}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder(folder: Path, tmp_path: Path, slash: str) -> None:
    (folder / "link").symlink_to("model.joblib")
    fetch(settings_for(f"file://{folder}{slash}", tmp_path / "to"))
    assert content(tmp_path / "to") == content(folder)
    assert not (tmp_path / "to" / "link").is_symlink()


def test_a_claim(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "claim" / "a b").mkdir(parents=True)
    (tmp_path / "claim" / "a b" / "model.joblib").write_bytes(b"x")
    fetch(settings_for("pvc://models/a%20b", tmp_path / "to", pvc_root=tmp_path / "claim"))
    assert content(tmp_path / "to") == {"model.joblib": b"x"}
    fetch(settings_for("pvc://models/", tmp_path / "all", pvc_root=tmp_path / "claim"))
    assert content(tmp_path / "all") == {"a b/model.joblib": b"x"}


def test_a_claim_that_is_not_mounted(tmp_path: Path) -> None:
    reason, message = failure("pvc://models/a", tmp_path / "to", pvc_root=tmp_path / "no")
    assert (reason, "claim models is not mounted" in message) == ("ModelNotFound", True)


def test_nothing_there(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/no"
    assert failure(uri, tmp_path / "to") == ("ModelNotFound", f"there is nothing at {uri}")
    assert failure("pvc://c/no", tmp_path / "to", pvc_root=tmp_path)[0] == "ModelNotFound"


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so it is nobody for a while."""
    user = os.geteuid()
    os.seteuid(user or NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_not_readable() -> None:
    # Not below tmp_path, into which only its owner may look.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "model.joblib").write_bytes(b"a model")
        with without_privileges():
            fetch(settings_for(f"file://{folder}/model.joblib", folder / "readable"), AT_ONCE)
        (folder / "model.joblib").chmod(0)
        with without_privileges():
            assert failure(f"file://{folder}/model.joblib", folder / "to")[0] == "ModelAccessDenied"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside"])
def test_links_out_of_the_folder(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    (folder / "link").symlink_to(target)
    assert failure(f"file://{folder}/", tmp_path / "to")[0] == "ArchiveUnsafe"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://bucket/model", "must start with one of file://, pvc://, http://, https://, s3://, gs://, az://"),
        ("models/iris", "must start with one of"),
        ("file://relative/path", "write three slashes"),
        ("pvc:///path", "write pvc://CLAIM/PATH"),
        ("pvc://claim/../other", "without .."),
        ("pvc://claim/%2e%2e/other", "without .."),
        ("https:///path", "it has no host"),
        ("https://host/folder/", "over HTTP only one file"),
        ("s3://bucket", "write s3://BUCKET/KEY"),
        ("hf://owner", "write hf://OWNER/REPOSITORY"),
        ("hf://owner/reposi tory", "is %2F"),
        ("models:/iris", "write models:/NAME/VERSION"),
        ("models:/iris/latest", "write models:/NAME/VERSION with a number"),
        ("models:/iris/3", "MLFLOW_TRACKING_URI must be"),
        ("oci://registry.example.com/iris", "write oci://REGISTRY/REPOSITORY:TAG"),
        ("oci://iris:3", "write oci://REGISTRY/REPOSITORY:TAG"),
        ("gs://bucket", "write gs://BUCKET/KEY"),
        ("az://container/", "write az://CONTAINER/PATH"),
        ("abfs://models@demo/iris", "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"),
    ],
)
def test_bad_addresses(tmp_path: Path, uri: str, said: str) -> None:
    reason, message = failure(uri, tmp_path / "to")
    assert (reason, said in message) == ("SettingsInvalid", True), message


def test_no_address(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="SCORING_MODEL_URI is not set"):
        fetch(Settings(model_path=tmp_path))


def test_the_checksum_of_a_file(folder: Path, tmp_path: Path) -> None:
    uri = f"file://{folder}/model.joblib"
    right = hashlib.sha256(b"weights" * 1000).hexdigest()
    fetch(settings_for(uri, tmp_path / "to", model_sha256=right))
    assert content(tmp_path / "to").keys() == {"model.joblib"}
    reason, message = failure(uri, tmp_path / "other", model_sha256="0" * 64)
    assert (reason, right in message, "0" * 64 in message) == ("ModelChecksumMismatch", True, True)


def test_the_checksum_of_a_folder_is_what_the_documented_command_prints(folder: Path, tmp_path: Path) -> None:
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout[:64]
    fetch(settings_for(f"file://{folder}/", tmp_path / "to", model_sha256=printed))
    assert content(tmp_path / "to") == content(folder)
    (folder / "sub" / "vocabulary.txt").write_bytes(b"other")
    assert failure(f"file://{folder}/", tmp_path / "other", model_sha256=printed)[0] == "ModelChecksumMismatch"


def test_a_complete_fetch_is_not_repeated(folder: Path, tmp_path: Path) -> None:
    settings = settings_for(f"file://{folder}/", tmp_path / "to")
    fetch(settings)
    before = (tmp_path / "to" / "model.joblib").stat().st_ino
    (folder / "model.joblib").write_bytes(b"changed")
    fetch(settings)
    assert (tmp_path / "to" / "model.joblib").stat().st_ino == before
    (tmp_path / "to" / "Zeta").unlink()
    fetch(settings)
    assert content(tmp_path / "to") == content(folder)


def test_another_address_replaces_what_was_fetched_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    fetch(settings_for(f"file://{folder}/", tmp_path / "to"))
    (tmp_path / "to" / "mine.txt").write_text("mine")
    fetch(settings_for(f"file://{folder}/sub/", tmp_path / "to"))
    assert content(tmp_path / "to") == {"vocabulary.txt": b"words", "mine.txt": b"mine"}


def test_somebody_elses_file_in_the_way(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "model.joblib").write_text("mine")
    with pytest.raises(StartupError, match=r"already has model\.joblib, which no earlier fetch put there"):
        fetch(settings_for(f"file://{folder}/", tmp_path / "to"))
    assert content(tmp_path / "to") == {"model.joblib": b"mine"}


def test_an_interrupted_placement_is_completed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(f"file://{folder}/", tmp_path / "to")
    moves = iter(range(100))
    replace = Path.replace

    def breaking(path: Path, target: Path) -> Path:
        if path.parent.name == "content" and next(moves) == 1:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", breaking)
    with pytest.raises(KeyboardInterrupt):
        fetch(settings)
    monkeypatch.undo()
    assert 0 < len(content(tmp_path / "to")) < len(content(folder))
    assert not Destination(tmp_path / "to").holds(f"file://{folder}/", None)
    fetch(settings)
    assert content(tmp_path / "to") == content(folder)


def test_left_over_workspaces_are_removed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "to" / ".scoring-fetch-killed").mkdir(parents=True)
    fetch(settings_for(f"file://{folder}/", tmp_path / "to"))
    assert not list((tmp_path / "to").glob(".scoring-fetch-*"))


def test_a_model_cannot_forge_the_record(folder: Path, tmp_path: Path) -> None:
    (folder / RECORD).write_text(json.dumps({"entries": ["../../important"]}))
    assert failure(f"file://{folder}/", tmp_path / "to")[0] == "ArchiveUnsafe"


def test_a_destination_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="cannot write the model to"):
        fetch(settings_for(f"file://{folder}/", tmp_path / "file" / "to"))


class Breaking:
    """A source of ten bytes that breaks off after `step` bytes each time, and can start in the middle or not."""

    def __init__(self, step: int, resumes: bool, failing_lists: int = 0) -> None:
        self.step, self.resumes, self.failing_lists = step, resumes, failing_lists
        self.reads: list[int] = []

    def listing(self) -> Listing:
        self.failing_lists -= 1
        if self.failing_lists >= 0:
            raise ModelSourceUnavailable("not now")
        return Listing((RemoteFile("model.bin", 10),), is_folder=False)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        self.reads.append(offset)
        start = offset if self.resumes else 0
        return start, self._bytes(start)

    def _bytes(self, start: int) -> Iterator[bytes]:
        end = min(start + self.step, 10)
        yield b"0123456789"[start:end]
        if end < 10:
            raise ModelSourceUnavailable("broken off")


def test_a_transfer_goes_on_where_it_broke(tmp_path: Path) -> None:
    source = Breaking(step=3, resumes=True, failing_lists=2)
    digest = hashlib.sha256(b"0123456789").hexdigest()
    assert download(source, tmp_path / "to", digest, AT_ONCE).files == (RemoteFile("model.bin", 10),)
    assert (tmp_path / "to" / "model.bin").read_bytes() == b"0123456789"
    assert source.reads == [0, 3, 6, 9]


def test_a_source_that_cannot_resume_is_read_from_the_start(tmp_path: Path) -> None:
    source = Breaking(step=6, resumes=False)
    with pytest.raises(ModelSourceUnavailable):
        download(source, tmp_path / "to", None, AT_ONCE)
    assert source.reads == [0, 6, 6]


def test_a_source_that_stays_away(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceUnavailable):
        download(Breaking(step=10, resumes=True, failing_lists=3), tmp_path / "to", None, AT_ONCE)


def test_not_enough_disk(tmp_path: Path) -> None:
    class Huge(Breaking):
        def listing(self) -> Listing:
            return Listing((RemoteFile("model.bin", 1 << 60),), is_folder=False)

    with pytest.raises(StartupError) as raised:
        download(Huge(1, True), tmp_path / "to", None, AT_ONCE)
    assert raised.value.reason == "ModelTooLarge"


def test_secrets_in_addresses_are_not_shown() -> None:
    assert shown("abfs://models@demo.dfs.core.windows.net/a") == "abfs://models@demo.dfs.core.windows.net/a"
    assert shown("https://user:pw@host:81/a/b.zip?X-Amz-Signature=abc#f") == "https://host:81/a/b.zip"


def test_every_scheme_has_a_source() -> None:
    assert set(SCHEMES) == {"file", "pvc", "http", "https", "s3", "gs", "az", "abfs", "abfss", "hf", "models", "oci"}


def test_the_command(folder: Path, tmp_path: Path, run_command: Callable[..., Any]) -> None:
    log = tmp_path / "termination"
    environment = {"SCORING_MODEL_PATH": tmp_path / "to", "SCORING_TERMINATION_LOG": log}
    done = run_command("fetch", SCORING_MODEL_URI=f"file://{folder}/", **environment)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "to") == content(folder)
    assert not log.exists()

    failed = run_command("fetch", "--model-uri", f"file://{folder}/no", **environment)
    assert failed.returncode == 4
    assert json.loads(log.read_text()) == {
        "reason": "ModelNotFound",
        "message": f"there is nothing at file://{folder}/no",
    }
    assert all(json.loads(line) for line in failed.stderr.splitlines())

    assert run_command("fetch", **environment).returncode == 2
    assert json.loads(log.read_text())["reason"] == "SettingsInvalid"
