"""Who may score.

case                                          expected
the primary or the secondary key              allowed
no header, another scheme, a wrong key        Unauthorized with WWW-Authenticate
an empty key file                             no empty key is ever accepted
a key changes (in place, or by moved link)    the new one is accepted, the old one refused, within a second
a key is removed                              refused from then on
no keys at all at the start                   SettingsInvalid
"""

from pathlib import Path

import pytest

from scoring_runtime.auth import KeyFiles, authenticator
from scoring_runtime.errors import SettingsInvalid, Unauthorized
from scoring_runtime.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "primary").write_text("first-key\n")
    (tmp_path / "secondary").write_text("second-key")
    return tmp_path


def accepted(keys: KeyFiles, header: str | None) -> bool:
    try:
        keys.check(header)
    except Unauthorized:
        return False
    return True


@pytest.mark.parametrize("header", ["Bearer first-key", "Bearer second-key", "bearer first-key", "BEARER  second-key "])
def test_both_keys_work(folder: Path, header: str) -> None:
    assert accepted(KeyFiles(folder), header)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer first-keys", "Basic first-key", "first-key", "Bearer \xff"],
)
def test_everything_else_is_refused(folder: Path, header: str | None) -> None:
    with pytest.raises(Unauthorized) as raised:
        KeyFiles(folder).check(header)
    challenge = dict(raised.value.headers)["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="scoring"')
    assert "first-key" not in raised.value.message


def test_an_empty_key_file_opens_nothing(folder: Path) -> None:
    (folder / "secondary").write_text(" \n")
    keys = KeyFiles(folder)
    assert not accepted(keys, "Bearer ")
    assert not accepted(keys, "Bearer")
    assert accepted(keys, "Bearer first-key")


def test_a_key_written_anew_counts_within_a_second(folder: Path) -> None:
    clock = Clock()
    keys = KeyFiles(folder, clock)
    (folder / "primary").write_text("third-key")
    clock.now = 1.0
    assert accepted(keys, "Bearer third-key")
    assert not accepted(keys, "Bearer first-key")
    assert accepted(keys, "Bearer second-key")


def test_files_are_looked_at_once_a_second_at_most(folder: Path) -> None:
    clock = Clock()
    keys = KeyFiles(folder, clock)
    (folder / "primary").unlink()
    clock.now = 0.9
    assert accepted(keys, "Bearer first-key")
    clock.now = 1.1
    assert not accepted(keys, "Bearer first-key")


def test_the_moved_link_of_a_mounted_secret(tmp_path: Path) -> None:
    """Kubernetes writes a new folder and moves the link ..data to it."""
    for number, key in (("1", "old"), ("2", "new")):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "primary").write_text(key)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "primary").symlink_to("..data/primary")
    clock = Clock()
    keys = KeyFiles(tmp_path, clock)
    assert accepted(keys, "Bearer old")
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    clock.now = 2
    assert accepted(keys, "Bearer new")
    assert not accepted(keys, "Bearer old")


def test_removed_keys_are_refused(folder: Path) -> None:
    clock = Clock()
    keys = KeyFiles(folder, clock)
    (folder / "primary").unlink()
    (folder / "secondary").write_text("")
    clock.now = 2
    assert not accepted(keys, "Bearer first-key")
    assert not accepted(keys, "Bearer second-key")
    assert not accepted(keys, "Bearer ")


def test_no_keys_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="no key in the files primary or secondary; mount the keys"):
        authenticator(Settings(auth="key", keys_dir=tmp_path))


def test_none_lets_everybody_in() -> None:
    authenticator(Settings(auth="none")).check(None)
