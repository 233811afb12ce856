"""What the operator knows of the cluster without asking: the watched objects as last seen.

Fed by watch events, by the answers to the operator's own writes and by a complete list now and then. An event older
than what is known is dropped (resource versions of one kind can be compared as numbers:
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), and an event that tells nothing new,
such as the echo of an own write, is recognised, so that it causes no work.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from scoring_operator.kinds import SCORING_SERVICE, Kind
from scoring_operator.kube import KubeObject, Listing
from scoring_operator.spec import GROUP


class ServiceKey(NamedTuple):
    """The name of a ScoringService: what the queue holds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


ObjectKey = tuple[str, str]
"""Namespace (empty for kinds without) and name."""


def object_key(found: Mapping[str, KubeObject]) -> ObjectKey:
    """Namespace and name of an object."""
    metadata = found["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def controller_uid(found: Mapping[str, KubeObject]) -> str | None:
    """The uid of the ScoringService that controls the object; None when none does."""
    owner = _controller(found)
    return None if owner is None else str(owner["uid"])


def owner_key(found: Mapping[str, KubeObject]) -> ServiceKey | None:
    """The ScoringService that controls the object, by name; None when none does."""
    owner = _controller(found)
    return None if owner is None else ServiceKey(found["metadata"]["namespace"], owner["name"])


def _controller(found: Mapping[str, KubeObject]) -> KubeObject | None:
    for owner in found["metadata"].get("ownerReferences") or []:
        ours = owner["kind"] == SCORING_SERVICE.kind and owner["apiVersion"].partition("/")[0] == GROUP
        if ours and owner.get("controller"):
            return dict(owner)
    return None


class Store:
    """The watched objects by kind, namespace and name, and the children of each service by its uid."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[ObjectKey, KubeObject]] = defaultdict(dict)
        self._children: dict[str, set[tuple[Kind, ObjectKey]]] = defaultdict(set)

    def get(self, kind: Kind, namespace: str, name: str) -> KubeObject | None:
        """The object as last seen. It is shared: never change it."""
        return self._objects[kind].get((namespace, name))

    def all(self, kind: Kind) -> list[KubeObject]:
        """All objects of a kind."""
        return list(self._objects[kind].values())

    def children(self, uid: str) -> list[tuple[Kind, KubeObject]]:
        """Every object that the service with this uid controls."""
        return [(kind, self._objects[kind][key]) for kind, key in self._children.get(uid, ())]

    def put(self, kind: Kind, found: KubeObject) -> bool:
        """Take in an object as seen now; False when it is not newer than what is known."""
        key = object_key(found)
        known = self._objects[kind].get(key)
        if known is not None and not _is_newer(found, known):
            return False
        self._replace(kind, key, found)
        return True

    def remove(self, kind: Kind, gone: KubeObject) -> bool:
        """Forget a deleted object; False when it is unknown or another object has its name by now."""
        key = object_key(gone)
        known = self._objects[kind].get(key)
        if known is None or known["metadata"].get("uid") != gone["metadata"].get("uid"):
            return False
        self._replace(kind, key, None)
        return True

    def replace_all(self, kind: Kind, listing: Listing) -> list[KubeObject]:
        """Make a complete list the truth about a kind; returns the objects that changed, came or went.

        What is known to be newer than the list, such as an object made while it was read, stays.
        """
        now = {object_key(found): found for found in listing.items}
        changed: list[KubeObject] = []
        for key, known in list(self._objects[kind].items()):
            if key not in now and not _is_later(known, listing.version):
                self._replace(kind, key, None)
                changed.append(known)
        for key, found in now.items():
            known_or_none = self._objects[kind].get(key)
            if known_or_none is None or (
                _version(known_or_none) != _version(found) and not _is_later(known_or_none, listing.version)
            ):
                self._replace(kind, key, found)
                changed.append(found)
        return changed

    def _replace(self, kind: Kind, key: ObjectKey, found: KubeObject | None) -> None:
        old = self._objects[kind].pop(key, None)
        if old is not None and (uid := controller_uid(old)):
            self._children[uid].discard((kind, key))
            if not self._children[uid]:
                del self._children[uid]
        if found is not None:
            self._objects[kind][key] = found
            if uid := controller_uid(found):
                self._children[uid].add((kind, key))


def _is_newer(found: KubeObject, known: KubeObject) -> bool:
    new, old = _version(found), _version(known)
    if new.isdigit() and old.isdigit():
        return int(new) > int(old)
    return new != old


def _is_later(known: KubeObject, version: str) -> bool:
    """Whether the object was seen after the moment that `version` stands for."""
    seen = _version(known)
    return seen.isdigit() and version.isdigit() and int(seen) > int(version)


def _version(found: KubeObject) -> str:
    return str(found["metadata"].get("resourceVersion", ""))
