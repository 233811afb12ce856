"""Whether a live object already is what the operator wants, and if not, which fields differ. Names, never values.

Two questions are asked. Does the live object contain the wanted one? The API server and others add fields (defaults,
status, a sidecar), and those are none of the operator's business. And does the operator still own a field that it no
longer wants? Server-side apply removes such a field when the wanted object is applied again, and `managedFields` tells
which they are (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management).

Lists are compared by the keys by which the API server merges them, or as a whole where it treats them as one value.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from scoring_operator.naming import FIELD_MANAGER
from scoring_operator.spec.quantity import quantity_value

_MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
}
_QUANTITIES = frozenset({"limits", "requests"})
_IDENTITY = frozenset({"apiVersion", "kind"})
"""Never owned by anybody: they are part of the object's address."""

_ABSENT = object()


def differences(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The paths of the fields for which `wanted` has to be applied to `live`; empty when it need not be."""
    return [*not_held(live, wanted), *_unwanted(live, wanted)]


def not_held(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The paths at which `live` does not contain `wanted`; right after an apply: what the API server made otherwise."""
    return list(_missing(live, wanted, ""))


def _missing(live: Any, wanted: Any, path: str) -> Iterator[str]:
    """The paths at which `live` does not contain `wanted`."""
    if isinstance(wanted, dict):
        if not wanted and live in (_ABSENT, None):
            return  # the API server drops some empty objects
        if not isinstance(live, dict):
            yield path
            return
        for key, value in wanted.items():
            yield from _missing(live.get(key, _ABSENT), value, _join(path, key))
    elif isinstance(wanted, list):
        if not wanted and live in (_ABSENT, None):
            return
        if not isinstance(live, list):
            yield path
        else:
            yield from _missing_items(live, wanted, path)
    elif live is _ABSENT or not _same(live, wanted, path):
        yield path


def _missing_items(live: Sequence[Any], wanted: Sequence[Any], path: str) -> Iterator[str]:
    keys = _merge_keys(path, wanted)
    if not keys:
        if len(live) != len(wanted):
            yield path
            return
        for index, (have, want) in enumerate(zip(live, wanted, strict=True)):
            yield from _missing(have, want, f"{path}[{index}]")
        return
    for want in wanted:
        have = next((item for item in live if all(item.get(key) == want.get(key, item.get(key)) for key in keys)), None)
        name = "/".join(str(want.get(key)) for key in keys)
        yield from _missing(_ABSENT if have is None else have, want, f"{path}[{name}]")


def _merge_keys(path: str, wanted: Sequence[Any]) -> tuple[str, ...]:
    """The keys by which the API server merges the list at `path`; empty for a list that is one value to it."""
    field = path.rpartition(".")[2]
    if field == "ports":
        if path == "spec.ports":
            return ("port", "protocol")
        in_container = bool(wanted) and isinstance(wanted[0], dict) and "containerPort" in wanted[0]
        return ("containerPort", "protocol") if in_container else ()
    return _MERGE_KEYS.get(field, ())


def _same(live: Any, wanted: Any, path: str) -> bool:
    if live == wanted and isinstance(live, bool) == isinstance(wanted, bool):
        return True
    parent = path.rpartition(".")[0].rpartition(".")[2]
    if parent in _QUANTITIES:
        try:
            return quantity_value(str(live)) == quantity_value(str(wanted))
        except ValueError:
            return False
    return False


def _unwanted(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """The paths of fields that the operator applied once and wants no more."""
    for entry in live["metadata"].get("managedFields") or []:
        ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            yield from _owned_but_unwanted(entry.get("fieldsV1") or {}, wanted, "")


def _owned_but_unwanted(owned: Mapping[str, Any], wanted: Any, path: str) -> Iterator[str]:
    """Walk the owned fields (the `fieldsV1` notation) along `wanted`; what is not there is no longer wanted."""
    for step, below in owned.items():
        sort, _, text = step.partition(":")
        if sort == "f":
            inner = _join(path, text)
            if path == "" and text in _IDENTITY:
                continue
            value = wanted.get(text, _ABSENT) if isinstance(wanted, dict) else _ABSENT
        elif sort == "k":
            key = _list_key(text)
            inner = f"{path}[{'/'.join(str(part) for part in key.values())}]"
            value = _item(wanted, key)
        elif sort == "v":
            inner = f"{path}[{text}]"
            value = None if isinstance(wanted, list) and json.loads(text) in wanted else _ABSENT
        else:
            continue  # `.` is the field itself; indexes are not used by the API server
        if value is _ABSENT:
            yield inner
        elif below:
            yield from _owned_but_unwanted(below, value, inner)


@lru_cache(maxsize=4096)
def _list_key(text: str) -> Mapping[str, Any]:
    """The key of a list's item, from its JSON; the operator's own manifests have but a few dozen different ones."""
    key: Mapping[str, Any] = json.loads(text)
    return key


def _item(wanted: Any, key: Mapping[str, Any]) -> Any:
    """The item of a keyed list with this key; a key the manifest leaves to its default (a protocol) matches."""
    if isinstance(wanted, list):
        for item in wanted:
            if isinstance(item, dict) and all(item.get(name, value) == value for name, value in key.items()):
                return item
    return _ABSENT


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
