"""A version's Deployment.

The pod template is a function of the service's and the version's own spec and of the image that is recorded with the
version, and of nothing that a release of the operator changes: an upgrade of the operator restarts no model.
tests/operator/goldens/released holds the templates of the releases so far.
"""

from typing import Any

from scoring_operator import naming
from scoring_operator.errors import ImageUnknown
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.pod import pod_template
from scoring_operator.resources.surroundings import Surroundings
from scoring_operator.spec import ScoringService, Version

PROGRESS_DEADLINE_SECONDS = 1200
"""Longer than the start-up probe waits, with time for the download of a large model."""
REVISION_HISTORY_LIMIT = 3


def build_deployment(service: ScoringService, version: Version, surroundings: Surroundings) -> Manifest:
    """The Deployment of `version`; without `replicas` when an autoscaler owns their number.

    Raises ImageUnknown when neither the version nor the surroundings name an image.
    """
    image = version.image or surroundings.images.get(version.name)
    if not image:
        raise ImageUnknown(version.name, version.model.framework)
    deployment = manifest("apps/v1", "Deployment", naming.deployment_name(service.name, version.name), service)
    deployment["metadata"]["labels"] = naming.labels(service.name, version.name)
    deployment["spec"] = {
        "selector": {"matchLabels": naming.selector(service.name, version.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _rolling_update(version)},
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": REVISION_HISTORY_LIMIT,
        "template": pod_template(service, version, image, surroundings),
    }
    if version.replicas is not None:
        deployment["spec"]["replicas"] = version.replicas
    return deployment


def _rolling_update(version: Version) -> dict[str, Any]:
    """One new pod before an old one goes; with GPUs the old one goes first: the new one may need its GPU."""
    if version.gpu:
        return {"maxSurge": 0, "maxUnavailable": 1}
    return {"maxSurge": 1, "maxUnavailable": 0}
