"""Who owns the number of a version's pods: the spec, or an autoscaler. Never both, and no change of owner moves a pod.

- The spec says a number: the operator applies it.
- The spec asks for an autoscaler: the operator applies no number; the autoscaler writes the Deployment's `/scale`. When
  the Deployment is made, and only then, the operator asks for the smallest number in the same way.
- The autoscaler was taken out of the spec, and no number was written: the number stays what it was. It is recorded in
  the status until the spec says one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scoring_operator.naming import FIELD_MANAGER, VERSION_LABEL
from scoring_operator.spec import ScoringService, Version

KEPT = "keptReplicas"
AUTOSCALED = "autoscaled"
"""Fields of a version's status."""


def first_replicas(service: ScoringService, manifest: Mapping[str, Any]) -> int | None:
    """The pods to begin with where `manifest` is the Deployment of a version with an autoscaler; else None."""
    name = manifest["metadata"]["labels"].get(VERSION_LABEL)
    for version in service.versions:
        if version.name == name and version.autoscaling is not None and "replicas" not in manifest["spec"]:
            return max(version.autoscaling.min_replicas, 1)
    return None


def gives_up_replicas(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the operator's next apply would drop the number of a Deployment, which it applied before."""
    if "replicas" in wanted["spec"] or "replicas" not in live["spec"]:
        return False
    return any(
        entry.get("manager") == FIELD_MANAGER
        and entry.get("operation") == "Apply"
        and "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        for entry in live["metadata"].get("managedFields") or []
    )


def kept_replicas(
    service: ScoringService, status: Mapping[str, Any], deployments: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Version → the pods that an autoscaler left to it, for versions of which the spec says no number now.

    `status` is the service's own as last written. At least one: nobody would wake a version that sleeps.
    """
    records = {record.get("name"): record for record in status.get("versions") or []}
    counts = {found["metadata"]["labels"].get(VERSION_LABEL): found["spec"].get("replicas") for found in deployments}
    kept = {}
    for version in service.versions:
        record = records.get(version.name, {})
        if version.autoscaling is None and not version.replicas_written:
            left = record.get(KEPT) or (counts.get(version.name) if record.get(AUTOSCALED) else None)
            if left is not None:
                kept[version.name] = max(int(left), 1)
    return kept


def why_asleep(version: Version) -> str:
    """What it means that a version which sleeps has no pods; empty for a version that does not sleep."""
    if version.autoscaling is None or not version.sleeps:
        return ""
    if version.autoscaling.keda is not None:
        return "asleep, because no trigger of KEDA is active: requests wait until one is"
    return "asleep, because nobody calls: the next request starts a pod and waits for it"


def with_kept(service: ScoringService, kept: Mapping[str, int]) -> ScoringService:
    """`service` with the numbers of pods that autoscalers left."""
    if not kept:
        return service
    versions = (replace(version, replicas=kept.get(version.name, version.replicas)) for version in service.versions)
    return replace(service, versions=tuple(versions))
