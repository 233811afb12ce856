"""kubectl scoring keys.

- by default only the first characters are printed; --show prints whole keys
- --rotate replaces one key, leaves the other, says which one to hand out
- the namespace: -n, else the context's; --context chooses another
- a service without keys: how callers get in instead
- what can be wrong: no Secret, a key missing, no permission, a change in between, no server
"""

import pytest
from click.testing import CliRunner

from scoring_cli.main import main
from tests.cli.conftest import ApiServer

PRIMARY, SECONDARY = "alpha-0123456789", "bravo-9876543210"


def test_keys_are_not_shown_unless_asked_for(api: ApiServer, cli: CliRunner) -> None:
    api.add_keys("iris", primary=PRIMARY, secondary=SECONDARY)
    result = cli.invoke(main, ["keys", "iris"])
    assert result.exit_code == 0, result.output
    assert "primary    alph…" in result.output
    assert PRIMARY not in result.output
    assert SECONDARY not in result.output


def test_show_prints_them(api: ApiServer, cli: CliRunner) -> None:
    api.add_keys("iris", primary=PRIMARY, secondary=SECONDARY)
    result = cli.invoke(main, ["keys", "iris", "--show"])
    assert result.output.splitlines() == [f"primary    {PRIMARY}", f"secondary  {SECONDARY}"]


@pytest.mark.parametrize(
    ("slot", "other", "kept"), [("primary", "secondary", SECONDARY), ("secondary", "primary", PRIMARY)]
)
def test_rotation_replaces_one_key_only(api: ApiServer, cli: CliRunner, slot: str, other: str, kept: str) -> None:
    path = api.add_keys("iris", primary=PRIMARY, secondary=SECONDARY)
    result = cli.invoke(main, ["keys", "iris", "--rotate", slot])
    assert result.exit_code == 0, result.output
    now = api.keys(path)
    assert now[other] == kept
    assert now[slot] not in (PRIMARY, SECONDARY)
    assert len(now[slot]) >= 43  # 256 bits
    assert f"Hand out the {other} key" in result.output
    assert now[slot] not in result.output


def test_two_rotations_make_two_keys(api: ApiServer, cli: CliRunner) -> None:
    path = api.add_keys("iris", primary=PRIMARY, secondary=SECONDARY)
    seen = {PRIMARY}
    for _ in range(2):
        assert cli.invoke(main, ["keys", "iris", "--rotate", "primary"]).exit_code == 0
        seen.add(api.keys(path)["primary"])
    assert len(seen) == 3


@pytest.mark.parametrize("options", [["-n", "team-b"], ["--context", "elsewhere"]])
def test_the_namespace_can_be_chosen(api: ApiServer, cli: CliRunner, options: list[str]) -> None:
    api.add_keys("iris", namespace="team-b", primary=PRIMARY, secondary=SECONDARY)
    assert cli.invoke(main, ["keys", "iris", "--show", *options]).exit_code == 0
    missing = cli.invoke(main, ["keys", "iris"])
    assert missing.exit_code == 1
    assert "Secret iris-keys in namespace team-a does not exist" in missing.output


OTHER = {"issuer": "https://login.example.com/", "jwksUri": "https://login.example.com/keys"}


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"type": "None"}, "iris has no keys: everybody may call it"),
        ({"type": "Token"}, "`kubectl create token SERVICEACCOUNT --audience iris.team-a`"),
        ({"type": "Token", "token": {"audience": "m"}}, "`kubectl create token SERVICEACCOUNT --audience m`"),
        (
            {"type": "Token", "token": OTHER},
            "tokens of https://login.example.com/ for the audience iris.team-a",
        ),
        ({"type": "Key"}, "Secret iris-keys in namespace team-a does not exist"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--rotate", "primary"]])
def test_a_service_without_keys_says_how_to_get_in(
    api: ApiServer, cli: CliRunner, auth: dict[str, object], said: str, options: list[str]
) -> None:
    api.add_service("iris", {}, auth=auth)
    result = cli.invoke(main, ["keys", "iris", *options])
    assert result.exit_code == 1
    assert said in result.output


def test_a_missing_key_is_named(api: ApiServer, cli: CliRunner) -> None:
    api.add_keys("iris", primary=PRIMARY)
    result = cli.invoke(main, ["keys", "iris"])
    assert result.exit_code == 1
    assert "no secondary key" in result.output


def test_a_missing_permission_is_said(api: ApiServer, cli: CliRunner) -> None:
    api.forbidden.add(api.add_keys("iris", primary=PRIMARY, secondary=SECONDARY))
    result = cli.invoke(main, ["keys", "iris"])
    assert result.exit_code == 1
    assert "You may not" in result.output


def test_a_change_in_between_is_not_overwritten(api: ApiServer, cli: CliRunner) -> None:
    path = api.add_keys("iris", primary=PRIMARY, secondary=SECONDARY)
    api.before_patch.append(lambda secret: secret["metadata"].update(resourceVersion="7"))
    result = cli.invoke(main, ["keys", "iris", "--rotate", "primary"])
    assert result.exit_code == 1
    assert "has changed in the meantime" in result.output
    assert api.keys(path)["primary"] == PRIMARY


def test_an_unknown_context_is_said(api: ApiServer, cli: CliRunner) -> None:
    result = cli.invoke(main, ["keys", "iris", "--context", "nowhere"])
    assert result.exit_code == 1
    assert "--context" in result.output
