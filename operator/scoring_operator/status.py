"""From a service and the facts about its children to its status: pure. Also reads back what was recorded there."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scoring_operator import naming
from scoring_operator.conditions import READY, Facts, VersionFacts, conditions
from scoring_operator.desired import service_url
from scoring_operator.replicas import AUTOSCALED, KEPT
from scoring_operator.resources import BuilderSettings
from scoring_operator.rollout import Record, record_status
from scoring_operator.spec import ScoringService, Version
from scoring_operator.traffic import Share, Traffic, traffic_text

Status = dict[str, Any]
ACCELERATION = "acceleration"
Acceleration = dict[str, str]
"""What became of a version's `accelerate`: `inUse` (onnx, compile, original or both), and `timesFaster`,
`largestDifference` and `message` where they are known."""


def recorded_images(service: ScoringService, status: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, str]:
    """Version → the image of its pods: the user's own, else the recorded one, else the default of its framework.

    The record counts as long as the version's own spec is what it was, so that neither an upgrade of the operator nor
    another default restarts a model. A version is left out when there is none of the three.
    """
    records = {record.get("name"): record for record in status.get("versions") or []}
    images: dict[str, str] = {}
    for version in service.versions:
        record = records.get(version.name, {})
        recorded = record.get("image") if record.get("specHash") == version.spec_hash else None
        image = version.image or recorded or defaults.get(version.model.framework)
        if image:
            images[version.name] = image
    return images


@dataclass(frozen=True)
class Load:
    """What the autoscaler last made known of a version."""

    percent: int | None = None
    """Busy and waiting requests in percent of the slots; None while nothing is known."""
    message: str = ""
    """Why it cannot do its work; empty when it can."""


@dataclass(frozen=True)
class Decisions:
    """What a pass decided or was told: images, where the requests go, what is converted, rollouts, how many pods."""

    images: Mapping[str, str]
    traffic: Traffic
    accelerations: Mapping[str, Acceleration] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    kept: Mapping[str, int] = field(default_factory=dict)
    """Version → the pods that an autoscaler left to it."""
    loads: Mapping[str, Load] = field(default_factory=dict)
    """Version → what its autoscaler says."""


def build_status(service: ScoringService, facts: Facts, decisions: Decisions, settings: BuilderSettings) -> Status:
    """Everything in the status but the conditions and what goes with them (see `with_conditions`)."""
    default, traffic = service.default_version, decisions.traffic
    found = {version.name: version for version in facts.versions}
    return {
        "url": service_url(service, settings),
        "selector": naming.selector_text(naming.selector(service.name, default.name)),
        "traffic": traffic_text(traffic.shares),
        "framework": ",".join(dict.fromkeys(version.model.framework for version in service.versions)),
        "model": default.model.uri,
        "versions": [
            {
                **_version_status(version, found.get(version.name), traffic.share(version.name)),
                **_image(decisions.images.get(version.name)),
                **_acceleration(decisions.accelerations.get(version.name)),
                **_scaling(version, decisions),
            }
            for version in service.versions
        ],
        **record_status(decisions.record),
        **_load(service, decisions),
    }


def keep_status(previous: Mapping[str, Any]) -> Status:
    """What stays of the status of a service whose new spec cannot be read: everything about the old state."""
    kept = ("url", "selector", "traffic", "framework", "model", "versions", "stableVersion", "rollout", "load")
    return {field: previous[field] for field in kept if field in previous}


def with_conditions(status: Status, facts: Facts, raw: Mapping[str, Any], now: dt.datetime) -> Status:
    """`status` with conditions, counts and message added; `raw` is the ScoringService as last read."""
    generation = raw["metadata"]["generation"]
    previous = (raw.get("status") or {}).get("conditions") or []
    found = conditions(facts, generation, previous, now)
    ready = next(condition for condition in found if condition["type"] == READY)
    return {
        **status,
        "observedGeneration": generation,
        "replicas": facts.replicas,
        "readyReplicas": facts.ready,
        "replicasSummary": f"{facts.ready}/{facts.wanted}",
        "message": ready["message"],
        "conditions": found,
    }


def status_patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> Status | None:
    """The merge patch (RFC 7396) from `current` to `wanted`, or None when nothing differs."""
    patch: Status = {}
    for key in current.keys() - wanted.keys():
        patch[key] = None
    for key, value in wanted.items():
        before = current.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = status_patch(before, value)
            if inner is not None:
                patch[key] = inner
        elif key not in current or before != value:
            patch[key] = value
    return patch or None


def _version_status(version: Version, facts: VersionFacts | None, share: Share) -> dict[str, Any]:
    status: dict[str, Any] = {
        "name": version.name,
        "traffic": share.wanted,
        "trafficInForce": share.in_force,
        "replicas": facts.wanted if facts else version.replicas or 0,
        "readyReplicas": facts.ready if facts else 0,
        "state": _state(facts),
        "specHash": version.spec_hash,
    }
    if version.mirror:
        status |= {"mirror": share.mirror_wanted, "mirrorInForce": share.mirror_in_force}
    if version.control:
        status["control"] = True
    message = "; ".join(part for part in (_said(facts), share.reason) if part)
    return {**status, "message": message} if message else status


def _said(facts: VersionFacts | None) -> str:
    """What there is to say about the pods of a version."""
    if facts is None:
        return ""
    return facts.failure.message if facts.failure else facts.progress


def _scaling(version: Version, decisions: Decisions) -> dict[str, Any]:
    """Who says how many pods there are, and what the autoscaler sees."""
    if version.autoscaling is None:
        return {KEPT: decisions.kept[version.name]} if version.name in decisions.kept else {}
    load = decisions.loads.get(version.name, Load())
    found: dict[str, Any] = {AUTOSCALED: True}
    if load.percent is not None:
        found["utilization"] = load.percent
    if load.message:
        found["scalingMessage"] = load.message
    return found


def _load(service: ScoringService, decisions: Decisions) -> dict[str, str]:
    """The load in one line, as `kubectl get hpa` shows targets: `40%/70%`, with names where there are versions."""
    texts = {}
    for version in service.versions:
        load = decisions.loads.get(version.name)
        if version.autoscaling is not None and load is not None and load.percent is not None:
            texts[version.name] = f"{load.percent}%/{version.autoscaling.target}%"
    if not texts:
        return {}
    named = len(service.versions) > 1
    return {"load": ",".join(f"{name}={text}" if named else text for name, text in texts.items())}


def _image(image: str | None) -> dict[str, str]:
    return {"image": image} if image else {}


def _acceleration(acceleration: Acceleration | None) -> dict[str, Acceleration]:
    return {ACCELERATION: acceleration} if acceleration else {}


def _state(facts: VersionFacts | None) -> str:
    if facts is None:
        return "Progressing"
    if facts.complete:
        return "Ready" if facts.wanted else "ScaledToZero"
    return "Failed" if facts.failure and facts.failure.stalls else "Progressing"
