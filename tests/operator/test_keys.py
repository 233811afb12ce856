"""Keys are kept as they are, and made where there are none.

case                           expected
no Secret                      two new keys, different, long
both there                     kept to the byte, also those a user chose
one missing, blank or broken   that one is new, the other kept
a repr                         shows no key
"""

import base64

import pytest

from scoring_operator.keys import Keys, complete_keys, new_key


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("data", [None, {}])
def test_new_keys(data: dict[str, str] | None) -> None:
    keys = complete_keys(data)
    assert keys.primary != keys.secondary
    assert min(len(keys.primary), len(keys.secondary)) >= 43


def test_keys_that_are_there_are_kept() -> None:
    data = {"primary": encoded("chosen by the user\n"), "secondary": encoded("ключ"), "other": "!"}
    assert complete_keys(data) == Keys("chosen by the user\n", "ключ")


@pytest.mark.parametrize("broken", [None, "", encoded("  \n"), "no base64!", base64.b64encode(b"\xff\xfe").decode()])
def test_what_is_missing_is_made(broken: str | None) -> None:
    data = {"primary": broken, "secondary": encoded("kept")}
    keys = complete_keys({name: value for name, value in data.items() if value is not None}, lambda: "made")
    assert keys == Keys("made", "kept")


def test_a_key_needs_no_quoting() -> None:
    assert all(character.isalnum() or character in "-_" for character in new_key())


def test_a_repr_shows_no_key() -> None:
    assert "secret" not in repr(Keys("secret-1", "secret-2"))
