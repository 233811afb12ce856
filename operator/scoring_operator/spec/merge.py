"""Each version with what it leaves out taken from its service, and with a hash of what its pods are made of.

requestSettings, batching and pod are inherited field by field; every other field is taken whole, so that a version's
resources, say, are either its own or the service's and never half of each.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scoring_operator.frameworks import ACCELERATED_FRAMEWORKS
from scoring_operator.spec import wire
from scoring_operator.spec.objects import (
    DEFAULT_ENTRY_SCRIPT,
    DEFAULT_VERSION_NAME,
    SCRIPT,
    Autoscaling,
    Batching,
    DataCollection,
    Keda,
    Model,
    Pod,
    RequestSettings,
    Resources,
    Version,
)
from scoring_operator.spec.quantity import canonical_quantity

_BY_FIELD = ("request_settings", "batching", "pod")
_NOT_OF_THE_PODS = {"name", "replicas", "autoscaling", "default", "control", "traffic", "mirror"}
_DEFAULTS = {"request_settings": RequestSettings(), "batching": Batching()}
_COLLECTED = {"format": DataCollection.format, "sampling_percent": DataCollection.sampling_percent}
_HASH_LENGTH = 16


def merged_versions(spec: wire.Spec) -> tuple[Version, ...]:
    """The versions of a spec that keeps all rules, complete and in the order they were written."""
    if spec.versions is None:
        assert spec.model is not None  # one of the rules
        only = wire.Version(name=DEFAULT_VERSION_NAME, model=spec.model)
        return (_version(_merged(only, spec), is_default=True),)
    chosen = next((version.name for version in spec.versions if version.default), spec.versions[0].name)
    return tuple(_version(_merged(own, spec), is_default=own.name == chosen) for own in spec.versions)


def without_nulls(value: Any) -> Any:
    """A copy of a JSON value without the entries that are null, as the API server stores it."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _merged(own: wire.Version, spec: wire.Spec) -> wire.Version:
    taken: dict[str, Any] = {}
    for name in wire.VersionFields.model_fields:
        mine, general = getattr(own, name), getattr(spec, name)
        if mine is None:
            taken[name] = general
        elif name in _BY_FIELD and general is not None:
            given = {field: getattr(mine, field) for field in type(mine).model_fields}
            taken[name] = general.model_copy(update={key: value for key, value in given.items() if value is not None})
    if own.replicas is not None:
        taken["autoscaling"] = None
    elif own.autoscaling is not None:
        taken["replicas"] = None
    return own.model_copy(update=taken)


def _version(merged: wire.Version, *, is_default: bool) -> Version:
    autoscaling = _autoscaling(merged.autoscaling) if merged.autoscaling else None
    return Version(
        name=merged.name,
        model=_model(merged.model),
        replicas=None if autoscaling else (1 if merged.replicas is None else merged.replicas),
        replicas_written=merged.replicas is not None,
        autoscaling=autoscaling,
        resources=_resources(merged.resources),
        gpu=merged.gpu or 0,
        request_settings=RequestSettings(**_given(merged.request_settings)),
        batching=Batching(**_given(merged.batching)),
        data_collection=_data_collection(merged.data_collection) if merged.data_collection else None,
        accelerate=_accelerate(merged),
        pod=_pod(merged.pod or wire.Pod()),
        image=merged.image,
        default=is_default,
        control=bool(merged.control),
        traffic=merged.traffic,
        mirror=merged.mirror,
        spec_hash=_spec_hash(merged),
    )


def _given(part: wire.Wire | None) -> dict[str, Any]:
    return part.model_dump(exclude_none=True) if part else {}


def _autoscaling(autoscaling: wire.Autoscaling) -> Autoscaling:
    given = _given(autoscaling)
    if autoscaling.keda is not None:
        keda = without_nulls(given["keda"])
        triggers = (trigger.model_dump(by_alias=True) for trigger in autoscaling.keda.triggers)
        keda["triggers"] = tuple(without_nulls(trigger) for trigger in triggers)
        given["keda"] = Keda(**keda)
    return Autoscaling(**given)


def _accelerate(merged: wire.Version) -> str | None:
    """What the service says of all versions is left out where it is not for this one's framework."""
    way = merged.accelerate or "none"
    return way if merged.model.framework in ACCELERATED_FRAMEWORKS.get(way, ()) else None


def _model(model: wire.Model) -> Model:
    return Model(
        uri=model.uri,
        framework=model.framework,
        sha256=model.sha256.lower() if model.sha256 else None,
        entry_script=(model.entry_script or DEFAULT_ENTRY_SCRIPT) if model.framework == SCRIPT else None,
        credentials_secret=model.credentials.secret_name if model.credentials else None,
    )


def _data_collection(collection: wire.DataCollection) -> DataCollection:
    given = _given(collection)
    credentials = given.pop("credentials", None)
    return DataCollection(**given, credentials_secret=credentials["secret_name"] if credentials else None)


def _resources(resources: wire.Resources | None) -> Resources:
    if resources is None:
        return Resources()
    return Resources(requests=_canonical(resources.requests), limits=_canonical(resources.limits))


def _canonical(quantities: Mapping[str, str] | None) -> dict[str, str]:
    return {name: canonical_quantity(value) for name, value in sorted((quantities or {}).items())}


def _pod(pod: wire.Pod) -> Pod:
    def objects(items: list[Any] | None) -> tuple[dict[str, Any], ...]:
        dumped = (item.model_dump(by_alias=True) if isinstance(item, wire.Wire) else item for item in items or ())
        return tuple(without_nulls(item) for item in dumped)

    return Pod(
        service_account_name=pod.service_account_name,
        node_selector=pod.node_selector or {},
        tolerations=objects(pod.tolerations),
        affinity=without_nulls(pod.affinity or {}),
        topology_spread_constraints=objects(pod.topology_spread_constraints),
        image_pull_secrets=tuple(secret.name for secret in pod.image_pull_secrets or ()),
        env=objects(pod.env),
        labels=pod.labels or {},
        annotations=pod.annotations or {},
        priority_class_name=pod.priority_class_name,
        runtime_class_name=pod.runtime_class_name,
    )


def _spec_hash(merged: wire.Version) -> str:
    """A hash of what the user wrote about this version's pods.

    What equals the API's default is left out, as are empty parts: writing a default down changes nothing, and a field
    that a later release adds changes no hash of today.
    """
    said: dict[str, Any] = merged.model_dump(exclude_none=True, exclude=_NOT_OF_THE_PODS)
    for part, defaults in _DEFAULTS.items():
        said[part] = {key: value for key, value in said.get(part, {}).items() if value != getattr(defaults, key)}
    for name, default in (("gpu", 0), ("accelerate", "none")):
        if said.get(name) == default:
            del said[name]
    if collection := said.get("data_collection"):
        said["data_collection"] = {key: value for key, value in collection.items() if value != _COLLECTED.get(key)}
    for part, quantities in said.get("resources", {}).items():
        said["resources"][part] = _canonical(quantities)
    if said["model"].get("entry_script") == DEFAULT_ENTRY_SCRIPT:
        del said["model"]["entry_script"]
    if "sha256" in said["model"]:
        said["model"]["sha256"] = said["model"]["sha256"].lower()
    text = json.dumps(_without_empty(said), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _without_empty(value: Any) -> Any:
    """A copy of a JSON value without empty objects, empty lists and nulls inside objects."""
    if isinstance(value, dict):
        inner = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not None and item not in ({}, [])}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
