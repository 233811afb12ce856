"""`kubectl scoring status`: a ScoringService's status as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StatusReport:
    """What to print, and whether the service answers."""

    ready: bool
    text: str


def describe(service: Mapping[str, Any]) -> StatusReport:
    """Describe a ScoringService as read from the API. A status older than the spec counts as not ready."""
    status: Mapping[str, Any] = service.get("status") or {}
    name = service["metadata"]["name"]
    if not status:
        return StatusReport(False, f"{name}: no status yet. Is the operator running, and does it watch this namespace?")
    current = status.get("observedGeneration") == service["metadata"].get("generation")
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    ready = conditions.get("Ready", {}).get("status") == "True" and current
    lines = [f"{name}: {'ready' if ready else 'not ready'}"]
    if not current:
        lines.append("  The operator has not yet seen the last edit.")
    if status.get("url"):
        lines.append(f"  URL       {status['url']}")
    if status.get("replicasSummary"):
        lines.append(f"  Replicas  {status['replicasSummary']}")
    lines += [f"  Version   {each.get('name')} {each.get('state', '')}".rstrip() for each in status.get("versions", [])]
    lines += _causes(conditions.values(), status.get("versions", []))
    return StatusReport(ready, "\n".join(lines))


def _causes(conditions: Iterable[Mapping[str, Any]], versions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why things are as they are, each message once: several conditions and versions may share one cause."""
    said: dict[str, str] = {}
    for condition in conditions:
        if _worth_saying(condition):
            message = str(condition.get("message", ""))
            said.setdefault(message, f"  {_state(condition)}: {message}")
    for version in versions:
        message = str(version.get("message", ""))
        if message and not any(message in known for known in said):
            said[message] = f"  Version {version.get('name')}: {message}"
    return list(said.values())


def _state(condition: Mapping[str, Any]) -> str:
    return f"{condition['type']}={condition['status']} {condition.get('reason', '')}"


def _worth_saying(condition: Mapping[str, Any]) -> bool:
    """Stalled and Reconciling are news when true, the others when they are not."""
    normal = "False" if condition["type"] in ("Stalled", "Reconciling") else "True"
    return bool(condition.get("status") != normal)
