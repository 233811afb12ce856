"""What the store believes.

| told                                        | believed                          |
|---------------------------------------------|-----------------------------------|
| an event newer, older, the echo of a write  | the newest; only news are news    |
| the deletion of a namesake                  | the living one stays              |
| a list                                      | the list, but for what is newer   |
| whose child something is                    | controllers of our kind only      |
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.kinds import DEPLOYMENT, SECRET
from scoring_operator.kube import Listing
from scoring_operator.store import ServiceKey, Store, controller_uid, owner_key


def thing(version: int | str, name: str = "iris", uid: str = "u", owner: str | None = "s") -> dict[str, Any]:
    owners = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"},
        {
            "apiVersion": "scoring.dev/v1alpha1",
            "kind": "ScoringService",
            "name": "iris",
            "uid": owner,
            "controller": True,
        },
    ]
    metadata = {"name": name, "namespace": "team", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, "ownerReferences": owners if owner else []}}


def version(store: Store) -> str | None:
    found = store.get(DEPLOYMENT, "team", "iris")
    return None if found is None else str(found["metadata"]["resourceVersion"])


@given(st.permutations([1, 2, 9, 10, 11]))
def test_the_newest_wins_in_whatever_order_events_come(order: list[int]) -> None:
    store = Store()
    news = [store.put(DEPLOYMENT, thing(number)) for number in order]
    assert version(store) == "11"
    assert news == [number == max(order[: index + 1]) for index, number in enumerate(order)]


def test_the_echo_of_an_own_write_is_no_news() -> None:
    store = Store()
    assert store.put(DEPLOYMENT, thing(5))
    assert not store.put(DEPLOYMENT, thing(5))


def test_versions_that_are_no_numbers_are_compared_for_equality() -> None:
    store = Store()
    assert store.put(DEPLOYMENT, thing("b"))
    assert store.put(DEPLOYMENT, thing("a"))
    assert not store.put(DEPLOYMENT, thing("a"))


def test_the_deletion_of_a_namesake_leaves_the_living() -> None:
    store = Store()
    store.put(DEPLOYMENT, thing(5, uid="new"))
    assert not store.remove(DEPLOYMENT, thing(4, uid="old"))
    assert version(store) == "5"
    assert store.remove(DEPLOYMENT, thing(6, uid="new"))
    assert version(store) is None
    assert not store.remove(DEPLOYMENT, thing(6, uid="new"))


def test_a_list_is_the_truth_but_for_what_is_newer() -> None:
    store = Store()
    for name, number in (("gone", 1), ("kept", 2), ("changed", 3), ("newer", 30), ("made since", 31)):
        store.put(DEPLOYMENT, thing(number, name))
    listing = Listing([thing(2, "kept"), thing(10, "changed"), thing(20, "newer"), thing(5, "missed")], "25")
    changed = {found["metadata"]["name"] for found in store.replace_all(DEPLOYMENT, listing)}
    assert changed == {"gone", "changed", "missed"}
    versions = {found["metadata"]["name"]: found["metadata"]["resourceVersion"] for found in store.all(DEPLOYMENT)}
    assert versions == {"kept": "2", "changed": "10", "newer": "30", "made since": "31", "missed": "5"}


def test_a_list_after_a_restored_etcd_is_believed() -> None:
    store = Store()
    store.put(DEPLOYMENT, thing(5))
    store.replace_all(DEPLOYMENT, Listing([thing(3)], "9"))
    assert version(store) == "3"


def test_children_follow_their_controller() -> None:
    store = Store()
    store.put(DEPLOYMENT, thing(1))
    store.put(SECRET, thing(2, "keys"))
    store.put(SECRET, thing(3, "other", owner="t"))
    store.put(SECRET, thing(4, "nobody's", owner=None))
    assert {found["metadata"]["name"] for _, found in store.children("s")} == {"iris", "keys"}
    store.put(SECRET, thing(5, "keys", owner="t"))
    store.remove(DEPLOYMENT, thing(6))
    assert store.children("s") == []
    assert {found["metadata"]["name"] for _, found in store.children("t")} == {"keys", "other"}


def test_only_a_scoring_service_that_controls_is_an_owner() -> None:
    found = thing(1)
    assert owner_key(found) == ServiceKey("team", "iris")
    assert controller_uid(found) == "s"
    for change in ({"controller": False}, {"apiVersion": "other.dev/v1"}, {"kind": "Model"}):
        stranger = thing(1)
        stranger["metadata"]["ownerReferences"][1].update(change)
        assert owner_key(stranger) is None
        assert controller_uid(stranger) is None
    assert owner_key({"metadata": {"name": "x"}}) is None
