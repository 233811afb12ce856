"""What a Deployment alone tells about the pods of a version: pure.

The rules are those of `kubectl rollout status`
(https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status).
"""

from collections.abc import Mapping
from typing import Any

from scoring_operator.conditions import Cause, VersionFacts
from scoring_operator.errors import Reason
from scoring_operator.naming import VERSION_LABEL

REVISION = "deployment.kubernetes.io/revision"


def version_facts(deployment: Mapping[str, Any]) -> VersionFacts:
    """The facts about the version whose Deployment this is, without what only its pods can tell."""
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    wanted = int(spec.get("replicas", 1))
    seen = int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0))
    replicas, updated = int(status.get("replicas", 0)), int(status.get("updatedReplicas", 0))
    ready, available = int(status.get("readyReplicas", 0)), int(status.get("availableReplicas", 0))
    complete = seen and replicas == updated == wanted and ready >= wanted and available >= wanted
    surge = (spec.get("strategy", {}).get("rollingUpdate") or {}).get("maxSurge")
    return VersionFacts(
        name=metadata.get("labels", {}).get(VERSION_LABEL, metadata["name"]),
        wanted=wanted,
        replicas=replicas,
        ready=ready,
        complete=complete,
        old_ready=ready > 0 and (not seen or updated < replicas),
        failure=None if complete else _rejected(status),
        in_place=not complete and surge in (0, "0", "0%") and int(revision(deployment) or 0) > 1,
    )


def revision(thing: Mapping[str, Any]) -> str:
    """The revision of a Deployment, or the one that a ReplicaSet stands for; empty before there is one."""
    return str((thing["metadata"].get("annotations") or {}).get(REVISION, ""))


def newest_template_hash(deployment: Mapping[str, Any], replica_sets: list[Mapping[str, Any]]) -> str | None:
    """The `pod-template-hash` of the newest revision's pods; None while the revision has no ReplicaSet."""
    for replica_set in replica_sets:
        owners = replica_set["metadata"].get("ownerReferences") or []
        ours = any(owner.get("uid") == deployment["metadata"].get("uid") for owner in owners)
        if ours and revision(replica_set) == revision(deployment) != "":
            return str(replica_set["metadata"].get("labels", {}).get("pod-template-hash", "")) or None
    return None


def _rejected(status: Mapping[str, Any]) -> Cause | None:
    """Why pods cannot even be made (a quota, an admission rule, no ServiceAccount), or why Kubernetes waits no more."""
    found = {condition["type"]: condition for condition in status.get("conditions") or []}
    refused = found.get("ReplicaFailure", {})
    if refused.get("status") == "True":
        return Cause(Reason.POD_REJECTED, _message(refused) or "the API server refuses the pods and gives no reason")
    if found.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
        return Cause(Reason.PROGRESS_DEADLINE_EXCEEDED, _message(found["Progressing"]))
    return None


def _message(condition: Mapping[str, Any]) -> str:
    return " ".join(str(condition.get("message", "")).split()).rstrip(".")
