"""From a service and the facts about its children to its status: pure. Also reads back what was recorded there."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from scoring_operator import naming
from scoring_operator.conditions import READY, Facts, VersionFacts, conditions
from scoring_operator.desired import service_url
from scoring_operator.resources import BuilderSettings
from scoring_operator.spec import ScoringService, Version

Status = dict[str, Any]

_ALL_TRAFFIC = 100


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


def build_status(service: ScoringService, facts: Facts, images: Mapping[str, str], settings: BuilderSettings) -> Status:
    """Everything in the status but the conditions and what goes with them (see `with_conditions`)."""
    default = service.default_version
    found = {version.name: version for version in facts.versions}
    return {
        "url": service_url(service, settings),
        "selector": naming.selector_text(naming.selector(service.name, default.name)),
        "traffic": ",".join(f"{version.name}={_traffic(service, version)}" for version in service.versions),
        "framework": ",".join(dict.fromkeys(version.model.framework for version in service.versions)),
        "model": default.model.uri,
        "versions": [
            _version_status(service, version, found.get(version.name), images.get(version.name))
            for version in service.versions
        ],
    }


def keep_status(previous: Mapping[str, Any]) -> Status:
    """What stays of the status of a service whose new spec cannot be read: everything about the old state."""
    kept = ("url", "selector", "traffic", "framework", "model", "versions")
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
        if key not in current or current[key] != value:
            patch[key] = value
    return patch or None


def _version_status(
    service: ScoringService, version: Version, facts: VersionFacts | None, image: str | None
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "name": version.name,
        "traffic": _traffic(service, version),
        "replicas": facts.wanted if facts else version.replicas or 0,
        "readyReplicas": facts.ready if facts else 0,
        "state": _state(facts),
        "specHash": version.spec_hash,
    }
    if image:
        status["image"] = image
    if facts and facts.failure:
        status["message"] = facts.failure.message
    elif facts and facts.progress:
        status["message"] = facts.progress
    return status


def _state(facts: VersionFacts | None) -> str:
    if facts is None:
        return "Progressing"
    if facts.complete:
        return "Ready" if facts.wanted else "ScaledToZero"
    return "Failed" if facts.failure and facts.failure.stalls else "Progressing"


def _traffic(service: ScoringService, version: Version) -> int:
    """The wanted share in percent: what the others leave falls to the default version."""
    if version is not service.default_version:
        return version.traffic or 0
    return _ALL_TRAFFIC - sum(other.traffic or 0 for other in service.versions if other is not version)
