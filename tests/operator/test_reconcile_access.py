"""Whole passes of the operator over a cluster in memory: keys, and the cluster's tokens.

| situation                                   | what is expected                                                    |
|---------------------------------------------|---------------------------------------------------------------------|
| keys                                        | drawn once, kept, completed; in no log                              |
| the cluster's tokens                        | keys kept in a ConfigMap, read for all at once, followed, restored  |
| auth changes                                | what the old way needed is deleted, what the new one needs is made  |
"""

import base64
import json

import pytest

from scoring_operator.issuer import REFRESH_SECONDS
from scoring_operator.kinds import CONFIG_MAP, SECRET, Kind
from scoring_operator.store import ServiceKey
from scoring_operator.tokens import CONFIGURATION_PATH, KEYS_PATH
from tests.operator.fake_kube import TLS, World, ready, secret


async def test_keys_are_drawn_once_and_completed_never_replaced() -> None:
    world = await ready()
    before = secret(world, "iris-keys")
    assert set(before) == {"primary", "secondary"}
    assert before["primary"] != before["secondary"]
    world.service(replicas=2)
    world.start()
    await world.settle()
    assert secret(world, "iris-keys") == before

    world.kube.change(SECRET, "iris-keys", lambda found: found["data"].pop("secondary"))
    await world.settle()
    after = secret(world, "iris-keys")
    assert after["primary"] == before["primary"]
    assert after["secondary"] != before["secondary"]


async def test_keys_survive_an_operator_that_does_not_see_the_secret() -> None:
    world = await ready()
    before = secret(world, "iris-keys")
    world.loop._store._objects[SECRET].clear()
    await world.again()
    assert secret(world, "iris-keys") == before


async def test_a_key_rotated_by_its_user_is_not_turned_back() -> None:
    world = await ready()
    world.kube.change(
        SECRET, "iris-keys", lambda found: found["data"].update(primary=base64.b64encode(b"new").decode())
    )
    await world.settle()
    assert secret(world, "iris-keys")["primary"] == "new"
    assert world.kube.writes == []


async def test_no_key_reaches_a_log_or_an_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    world = await ready(ingress=TLS)
    world.kube.change(SECRET, "iris-keys", lambda found: found["data"].pop("secondary"))
    await world.settle()
    told = caplog.text + repr([record.__dict__ for record in caplog.records]) + repr(world.kube.events)
    for name in ("iris-keys", "iris-tls"):
        for encoded, plain in zip(world.get(SECRET, name)["data"].values(), secret(world, name).values(), strict=True):
            assert encoded not in told
            assert plain not in told


TOKENS = {"auth": {"type": "Token"}}


OTHER_ISSUER = {"issuer": "https://login.example.com/", "jwksUri": "https://login.example.com/keys"}


def key_set(world: World, name: str = "iris") -> list[str]:
    """The ids of the keys that pods verify the cluster's tokens with."""
    return [key["kid"] for key in json.loads(world.get(CONFIG_MAP, f"{name}-jwks")["data"]["jwks.json"])["keys"]]


def documents(world: World) -> list[str]:
    return [name for method, _, name in world.kube.calls if method == "document"]


async def test_the_clusters_keys_are_there_before_the_pods() -> None:
    world = World()
    world.service(**TOKENS)
    assert await world.settle() == []
    applied = [kind for method, kind, _ in world.kube.writes if method == "apply"]
    assert applied.index("ConfigMap") < applied.index("Deployment")
    assert key_set(world) == ["1"]
    assert (SECRET, "team", "iris-keys") not in world.kube.objects


async def test_one_reading_of_the_keys_serves_all_services() -> None:
    world = World()
    for name in ("iris", "faq", "faces"):
        world.service(name, **TOKENS)
    world.service("other")
    await world.settle()
    assert sorted(documents(world)) == [CONFIGURATION_PATH, KEYS_PATH]
    world.kube.calls.clear()
    await world.again("faq")
    assert world.kube.calls == []


async def test_new_keys_of_the_cluster_are_followed_and_restart_nothing() -> None:
    world = await ready(**TOKENS)
    world.kube.documents[KEYS_PATH] = {"keys": [{"kid": "2", "kty": "EC"}, {"kid": "1", "kty": "RSA"}]}
    world.later(REFRESH_SECONDS - 1)
    await world.again()
    assert key_set(world) == ["1"]
    world.later(1)
    await world.again()
    assert sorted(key_set(world)) == ["1", "2"]
    assert [call for call in world.kube.writes if call[0] == "apply"] == [("apply", "ConfigMap", "iris-jwks")]


async def test_the_order_of_the_keys_is_no_change() -> None:
    world = World()
    keys = [{"kid": "1", "kty": "RSA"}, {"kid": "2", "kty": "RSA"}]
    world.kube.documents[KEYS_PATH] = {"keys": keys}
    world.service(**TOKENS)
    await world.settle()
    world.kube.calls.clear()
    world.kube.documents[KEYS_PATH] = {"keys": keys[::-1]}
    world.later(REFRESH_SECONDS)
    await world.again()
    assert documents(world) != []
    assert world.kube.writes == []


async def test_a_pass_is_wanted_when_the_keys_are_due() -> None:
    world = await ready(**TOKENS)
    world.later(100)
    key = ServiceKey("team", "iris")
    assert await world.loop._reconciler.reconcile(key) == REFRESH_SECONDS - 100
    other = await ready(auth={"type": "Token", "token": OTHER_ISSUER})
    assert await other.loop._reconciler.reconcile(key) is None


async def test_another_issuer_needs_nothing_of_the_cluster() -> None:
    world = await ready(auth={"type": "Token", "token": OTHER_ISSUER})
    assert (CONFIG_MAP, "team", "iris-jwks") not in world.kube.objects
    world.start()
    await world.settle()
    assert documents(world) == []


@pytest.mark.parametrize(
    ("path", "document"),
    [(CONFIGURATION_PATH, None), (KEYS_PATH, None), (CONFIGURATION_PATH, {}), (KEYS_PATH, {"keys": []})],
)
async def test_a_cluster_that_hides_its_keys_is_told_of_and_what_runs_stays(
    path: str, document: dict[str, object] | None
) -> None:
    world = await ready(**TOKENS)
    if document is None:
        del world.kube.documents[path]
    else:
        world.kube.documents[path] = document
    world.later(REFRESH_SECONDS)
    assert {type(error).__name__ for error in await world.again()} == {"IssuerUnknown"}
    assert world.condition("Stalled")["reason"] == "IssuerUnknown"
    assert path in world.status()["message"]
    assert "jwksUri" in world.status()["message"]
    assert key_set(world) == ["1"]
    assert {call[0] for call in world.kube.writes} == {"merge_status"}


@pytest.mark.parametrize(
    ("before", "after", "gone", "there"),
    [
        ({}, TOKENS, (SECRET, "iris-keys"), (CONFIG_MAP, "iris-jwks")),
        (TOKENS, {}, (CONFIG_MAP, "iris-jwks"), (SECRET, "iris-keys")),
        ({}, {"auth": {"type": "None"}}, (SECRET, "iris-keys"), None),
        (TOKENS, {"auth": {"type": "Token", "token": OTHER_ISSUER}}, (CONFIG_MAP, "iris-jwks"), None),
    ],
)
async def test_what_a_way_of_access_needs_comes_and_goes_with_it(
    before: dict[str, object], after: dict[str, object], gone: tuple[Kind, str], there: tuple[Kind, str] | None
) -> None:
    world = await ready(**before)
    world.service(**after)
    assert await world.settle() == []
    assert (gone[0], "team", gone[1]) not in world.kube.objects
    assert there is None or (there[0], "team", there[1]) in world.kube.objects


async def test_a_secret_of_somebody_else_is_not_touched_where_no_keys_are_wanted() -> None:
    world = World()
    world.kube.put(SECRET, {"metadata": {"name": "iris-keys", "namespace": "team"}, "data": {"a": "Yg=="}})
    world.service(**TOKENS)
    assert await world.settle() == []
    assert world.get(SECRET, "iris-keys")["data"] == {"a": "Yg=="}


async def test_deleted_keys_of_the_cluster_come_back() -> None:
    world = await ready(**TOKENS)
    world.kube.remove(CONFIG_MAP, "team", "iris-jwks")
    await world.settle()
    assert key_set(world) == ["1"]
