"""`kubectl scoring status`: a ScoringService's status as sentences."""

from __future__ import annotations

from collections.abc import Mapping
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
    lines += [_version_line(version) for version in status.get("versions", [])]
    lines += [_condition_line(condition) for condition in conditions.values() if _worth_saying(condition)]
    return StatusReport(ready, "\n".join(lines))


def _version_line(version: Mapping[str, Any]) -> str:
    message = f": {version['message']}" if version.get("message") else ""
    return f"  Version   {version.get('name')} {version.get('state', '')}".rstrip() + message


def _worth_saying(condition: Mapping[str, Any]) -> bool:
    """Stalled and Reconciling are news when true, the others when they are not."""
    normal = "False" if condition["type"] in ("Stalled", "Reconciling") else "True"
    return bool(condition.get("status") != normal)


def _condition_line(condition: Mapping[str, Any]) -> str:
    return f"  {condition['type']}={condition['status']} {condition.get('reason', '')}: {condition.get('message', '')}"
