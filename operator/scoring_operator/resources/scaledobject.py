"""The ScaledObject of a version that KEDA scales: the user's triggers, at the version's own Deployment.

https://keda.sh/docs/latest/reference/scaledobject-spec/
"""

from typing import Any

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import Autoscaling, Keda, ScoringService, Version


def build_scaled_object(service: ScoringService, version: Version, bounds: Autoscaling, keda: Keda) -> Manifest:
    """What tells KEDA to scale the Deployment of `version` between `bounds` by the triggers of `keda`."""
    name = naming.scaled_object_name(service.name, version.name)
    made = manifest("keda.sh/v1alpha1", "ScaledObject", name, service)
    made["metadata"]["labels"] = naming.labels(service.name, version.name)
    made["spec"] = {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": naming.deployment_name(service.name, version.name),
        },
        "minReplicaCount": bounds.min_replicas,
        "maxReplicaCount": bounds.max_replicas,
        "triggers": [dict(trigger) for trigger in keda.triggers],
        **_written(keda),
    }
    return made


def _written(keda: Keda) -> dict[str, Any]:
    """The fields that the user wrote; KEDA's defaults hold for the others."""
    whole: dict[str, Any] = {
        "pollingInterval": keda.polling_interval,
        "cooldownPeriod": keda.cooldown_period,
        "initialCooldownPeriod": keda.initial_cooldown_period,
        "idleReplicaCount": keda.idle_replica_count,
        "fallback": dict(keda.fallback) or None,
        "advanced": dict(keda.advanced) or None,
    }
    return {name: value for name, value in whole.items() if value is not None}
