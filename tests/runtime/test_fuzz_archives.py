"""Archives that were made to do harm, or were damaged on their way: refused or unpacked, and nothing else happens.

case                                         expected
members of any name and kind                 unpacked inside the folder, or a StartupError
any byte changed, cut or added               the same
bombs                                        refused before the disk has more than the bounds allow
"""

import io
import os
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scoring_runtime.errors import StartupError
from scoring_runtime.fetch import archives
from scoring_runtime.fetch.archives import unpack

FREE, RATIO = 50_000, 10
FORMATS = [("zip", ""), ("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
MEMBER_KINDS = [tarfile.REGTYPE] * 6 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, b"S", b"x"]

parts = st.sampled_from(["a", "b", "..", ".", "", "model.joblib", "C:", "\\..", "~", "é", "x" * 300, "a\nb", "\0"])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join) | st.text(max_size=8)
contents = st.binary(max_size=50) | st.sampled_from([2000, 200_000])
members = st.lists(st.tuples(paths, st.sampled_from(MEMBER_KINDS), contents), min_size=1, max_size=5)
formats = st.sampled_from(FORMATS)
# A number stands for so many zeros.
Member = tuple[str, bytes, bytes | int]


def profile(examples: int, **others: Any) -> Any:
    return settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        **others,
    )


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_OF_RATIO_BYTES", FREE)
    monkeypatch.setattr(archives, "MAX_RATIO", RATIO)
    monkeypatch.setattr(archives, "MAX_FILES", 4)


def packed(kind: str, mode: str, given_members: list[Member]) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, member_kind, content in given_members:
                info = zipfile.ZipInfo(name.partition("\0")[0] or "empty")
                info.external_attr = (stat.S_IFLNK if member_kind == tarfile.SYMTYPE else stat.S_IFREG) << 16
                archive.writestr(info, bytes(content), zipfile.ZIP_DEFLATED)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, member_kind, content in given_members:
            member = tarfile.TarInfo(name.replace("\0", ""))
            member.type, member.linkname = member_kind, "../../outside"
            member.size = len(bytes(content)) if member_kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(bytes(content)))
    return buffer.getvalue()


def attack(kind: str, content: bytes) -> bool:
    """Unpack it in a folder of its own and look at what is there then; whether it was accepted."""
    with tempfile.TemporaryDirectory() as outer:
        archive = Path(outer) / f"model.{kind}"
        archive.write_bytes(content)
        target = Path(outer) / "to"
        try:
            unpack(archive, target)
            accepted = True
        except StartupError:
            accepted = False
        around = {path.name for path in Path(outer).iterdir()}
        assert around <= {archive.name, "to"} | ({"to-inner"} if not accepted else set())
        found = [Path(folder) / name for folder, _, files in os.walk(outer) for name in files]
        assert all(stat.S_ISREG(path.lstat().st_mode) for path in found)
        written = sum(path.lstat().st_size for path in found if path != archive)
        assert written <= len(content) * RATIO + FREE
        assert len(found) <= 5
        return accepted


def fuzz_members(form: tuple[str, str], given_members: list[Member]) -> None:
    attack(form[0], packed(*form, given_members))


def fuzz_damage(form: tuple[str, str], given_members: list[Member], changes: list[tuple[int, bytes]], cut: int) -> None:
    content = bytearray(packed(*form, given_members))
    for position, replacement in changes:
        start = position % len(content)
        content[start : start + len(replacement)] = replacement
    attack(form[0], bytes(content[: len(content) - cut % len(content)]))


changes = st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), max_size=4)
cuts = st.just(0) | st.integers(0, 10**6)
quiet = pytest.mark.filterwarnings("ignore:Duplicate name")


@quiet
@profile(80)
@given(form=formats, given_members=members)
@example(form=FORMATS[0], given_members=[("a/b", tarfile.REGTYPE, b"x"), ("a", tarfile.REGTYPE, b"y")])
@example(form=FORMATS[1], given_members=[("to-inner/to", tarfile.REGTYPE, b"x")])
def test_hostile_members(form: tuple[str, str], given_members: list[Member]) -> None:
    fuzz_members(form, given_members)


@quiet
@profile(80)
@given(form=formats, given_members=members, changed=changes, cut=cuts)
def test_damaged_archives(form: tuple[str, str], given_members: list[Member], changed: list, cut: int) -> None:
    fuzz_damage(form, given_members, changed, cut)


@pytest.mark.parametrize("form", FORMATS, ids=[kind for kind, _ in FORMATS])
def test_archives_that_end_in_their_first_header(form: tuple[str, str]) -> None:
    content = packed(*form, [("model.joblib", tarfile.REGTYPE, b"weights")])
    assert not any(attack(form[0], content[:size]) for size in range(40))


def test_a_member_without_a_name() -> None:
    """Python writes none, so the name of one is made its extra field, in both of its headers."""
    content = bytearray(packed("zip", "", [("x", tarfile.REGTYPE, b"weights")]))
    for lengths in (26, content.index(b"PK\x01\x02") + 28):
        content[lengths : lengths + 4] = b"\0\0\x01\0"
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == [""]
    assert not attack("zip", bytes(content))


@pytest.mark.parametrize("form", FORMATS, ids=[kind for kind, _ in FORMATS])
def test_ordinary_archives_pass(form: tuple[str, str]) -> None:
    """The other tests would pass with an `unpack` that refuses everything."""
    assert attack(form[0], packed(*form, [("m/model.joblib", tarfile.REGTYPE, b"weights")]))


@quiet
@pytest.mark.slow
def test_long() -> None:
    profile(5_000, derandomize=False)(given(formats, members)(fuzz_members))()
    profile(15_000, derandomize=False)(given(formats, members, changes, cuts)(fuzz_damage))()
