"""Archives: what is unpacked, and what is refused before it does harm."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scoring_runtime.errors import StartupError
from scoring_runtime.fetch import archives
from scoring_runtime.fetch.archives import is_archive, unpack

FILES = {"model.joblib": b"weights", "data/words.txt": b"words"}


def zipped(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tarred(mode: str) -> Callable[[Path, dict[str, bytes]], None]:
    def write(path: Path, files: dict[str, bytes]) -> None:
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return write


FORMATS = [
    ("model.zip", zipped),
    ("model.tar", tarred("w")),
    ("model.tar.gz", tarred("w:gz")),
    ("MODEL.TGZ", tarred("w:gz")),
    ("model.tar.xz", tarred("w:xz")),
    ("model.tar.bz2", tarred("w:bz2")),
]
every_format = pytest.mark.parametrize(("name", "write"), FORMATS)


def unpacked(archive: Path) -> dict[str, bytes]:
    target = archive.parent / "to"
    unpack(archive, target)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def refusal(archive: Path) -> tuple[str, str]:
    with pytest.raises(StartupError) as raised:
        unpacked(archive)
    outside = [path for path in archive.parent.iterdir() if path.name not in {archive.name, "to"}]
    assert outside == []
    return raised.value.reason, raised.value.message


@every_format
def test_formats(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name, FILES)
    assert is_archive(name)
    assert unpacked(tmp_path / name) == FILES


@every_format
def test_one_folder_around_everything_is_left_out(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name, {f"iris-3/{path}": content for path, content in FILES.items()})
    assert unpacked(tmp_path / name) == FILES


def test_a_folder_in_the_folder_of_the_same_name(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"iris/iris/model.joblib": b"x", "iris/b": b"y"})
    assert unpacked(tmp_path / "a.zip") == {"iris/model.joblib": b"x", "b": b"y"}


def test_other_names_are_no_archives() -> None:
    assert not any(map(is_archive, ["model.joblib", "model.pt", "model.skops", "model.gz", "zip", "model.zip.txt"]))


@every_format
@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\..\\evil"])
def test_paths_that_lead_out(tmp_path: Path, name: str, write: Callable, path: str) -> None:
    write(tmp_path / name, {path: b"x"})
    assert refusal(tmp_path / name)[0] == "ArchiveUnsafe"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        member = tarfile.TarInfo("model.joblib")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    reason, message = refusal(tmp_path / "model.tar")
    assert (reason, "model.joblib is a link or a device" in message) == ("ArchiveUnsafe", True)


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_in_zip(tmp_path: Path, mode: int) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        member = zipfile.ZipInfo("model.joblib")
        member.external_attr = mode << 16
        archive.writestr(member, "/etc/passwd")
    assert refusal(tmp_path / "model.zip")[0] == "ArchiveUnsafe"


@every_format
def test_bombs(tmp_path: Path, name: str, write: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_OF_RATIO_BYTES", 1 << 20)
    monkeypatch.setattr(archives, "MAX_RATIO", 3)
    write(tmp_path / name, {"zeros": bytes(8 << 20)})
    if name == "model.tar":
        assert len(unpacked(tmp_path / name)["zeros"]) == 8 << 20
    else:
        reason, message = refusal(tmp_path / name)
        assert (reason, "3 times its size" in message) == ("ArchiveUnsafe", True)


def test_a_real_bomb(tmp_path: Path) -> None:
    """100 MiB of zeros in 100 kB: over 100 times its size beyond what is free of the ratio."""
    zipped(tmp_path / "model.zip", {"zeros": bytes(100 << 20)})
    assert refusal(tmp_path / "model.zip")[0] == "ArchiveUnsafe"


@every_format
def test_too_many_files(tmp_path: Path, name: str, write: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    write(tmp_path / name, {str(number): b"" for number in range(6)})
    assert refusal(tmp_path / name) == ("ArchiveUnsafe", "the archive has more than 5 files")


def test_more_than_the_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = archives.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage._replace(free=3))
    zipped(tmp_path / "model.zip", FILES)
    assert refusal(tmp_path / "model.zip")[0] == "ModelTooLarge"


@every_format
def test_a_path_twice(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name, {"a": b"1", "./a": b"2"})
    assert refusal(tmp_path / name)[0] == "ArchiveUnsafe"


@every_format
def test_a_file_that_is_also_a_folder(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name, {"a": b"1", "a/b": b"2"})
    assert refusal(tmp_path / name)[0] == "ArchiveUnsafe"


@every_format
def test_a_damaged_archive(tmp_path: Path, name: str, write: Callable) -> None:
    write(tmp_path / name, {"model.joblib": bytes(range(256)) * 5000})
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert refusal(tmp_path / name)[0] == "ModelInvalid"


@pytest.mark.parametrize("name", ["model.zip", "model.tar", "model.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>" * 100, gzip.compress(b"no tar", mtime=0)])
def test_what_is_no_archive(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name)[0] == "ModelInvalid"


def test_an_encrypted_archive(tmp_path: Path) -> None:
    zipped(tmp_path / "model.zip", FILES)
    data = bytearray((tmp_path / "model.zip").read_bytes())
    # The flag "encrypted" of the first file, in its own header and in the directory.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "model.zip").write_bytes(data)
    assert refusal(tmp_path / "model.zip")[0] == "ModelInvalid"
