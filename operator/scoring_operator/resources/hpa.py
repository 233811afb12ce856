"""The HorizontalPodAutoscaler of a version that is scaled by its CPU; Kubernetes does the rest.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/
"""

from scoring_operator import naming
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.spec import Autoscaling, ScoringService, Version


def build_autoscaler(service: ScoringService, version: Version, bounds: Autoscaling) -> Manifest:
    """What keeps the CPU that pods of `version` use at the target, in percent of what they request."""
    name = naming.autoscaler_name(service.name, version.name)
    made = manifest("autoscaling/v2", "HorizontalPodAutoscaler", name, service)
    made["metadata"]["labels"] = naming.labels(service.name, version.name)
    target = {"type": "Utilization", "averageUtilization": bounds.target}
    made["spec"] = {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": naming.deployment_name(service.name, version.name),
        },
        "minReplicas": bounds.min_replicas,
        "maxReplicas": bounds.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return made
