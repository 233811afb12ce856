"""What KEDA needs to scale the versions that are left to it, and what it says about them.

KEDA's own objects are looked at, never its metrics: how many pods there are is its business alone.
"""

from collections.abc import Mapping

from scoring_operator import naming
from scoring_operator.conditions import Cause
from scoring_operator.errors import Reason
from scoring_operator.kinds import SCALED_OBJECT
from scoring_operator.kube import KubeObject
from scoring_operator.served import ServedKinds
from scoring_operator.spec import ScoringService, Version
from scoring_operator.status import Load
from scoring_operator.store import Store

_MISSING = Cause(
    Reason.KEDA_NOT_FOUND,
    "autoscaling.keda needs KEDA, and the cluster has no ScaledObjects: install KEDA (https://keda.sh), or write "
    "autoscaling without keda; until then the number of pods stays as it is",
)


async def missing_keda(service: ScoringService, kinds: ServedKinds) -> Cause | None:
    """What is to be done where a version asks for KEDA and the cluster has none."""
    if not any(map(_by_keda, service.versions)) or await kinds.serves(SCALED_OBJECT):
        return None
    return _MISSING


def keda_loads(service: ScoringService, store: Store) -> Mapping[str, Load]:
    """Version → what KEDA says of it, for the versions that KEDA scales."""
    found = {}
    for version in filter(_by_keda, service.versions):
        name = naming.scaled_object_name(service.name, version.name)
        scaled = store.get(SCALED_OBJECT, service.namespace, name)
        found[version.name] = Load(message=complaint(scaled or {}))
    return found


def complaint(scaled: KubeObject) -> str:
    """Why KEDA cannot do its work, by the conditions of a ScaledObject; empty when it can, or has not looked yet."""
    for condition in (scaled.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready" and condition.get("status") == "False":
            said = " ".join(str(condition.get("message", "")).split()).rstrip(".")
            return f"KEDA does not scale: {said or condition.get('reason', '')}"
    return ""


def _by_keda(version: Version) -> bool:
    return version.autoscaling is not None and version.autoscaling.keda is not None
