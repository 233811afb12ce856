"""What must hold for numbers: of pods, and of what each of them may use."""

from scoring_operator.spec import wire
from scoring_operator.spec.quantity import quantity_value

GPU_RESOURCE = "nvidia.com/gpu"


def quantities_are_good(resources: wire.Resources) -> bool:
    """Whether all requests and limits can be read as quantities."""
    return all(
        _is_quantity(value) for part in (resources.requests, resources.limits) for value in (part or {}).values()
    )


def _is_quantity(value: str) -> bool:
    try:
        return quantity_value(value) >= 0
    except ValueError:
        return False


def requests_fit(resources: wire.Resources) -> bool:
    """Whether no request is larger than the limit of the same resource."""
    requests, limits = resources.requests or {}, resources.limits or {}
    return all(
        quantity_value(requests[name]) <= quantity_value(limits[name])
        for name in requests.keys() & limits.keys()
        if _is_quantity(requests[name]) and _is_quantity(limits[name])
    )


def no_gpus(resources: wire.Resources) -> bool:
    """Whether GPUs are left to the field for them."""
    return not any(GPU_RESOURCE in (part or {}) for part in (resources.requests, resources.limits))


def bounds_in_order(autoscaling: wire.Autoscaling) -> bool:
    """Whether the smallest number of pods is not above the largest."""
    smallest, largest = autoscaling.min_replicas, autoscaling.max_replicas
    return (1 if smallest is None else smallest) <= (10 if largest is None else largest)


def idle_below_smallest(autoscaling: wire.Autoscaling) -> bool:
    """Whether KEDA's number for idle times, where there is one, is below the smallest number of pods."""
    idle = None if autoscaling.keda is None else autoscaling.keda.idle_replica_count
    smallest = 1 if autoscaling.min_replicas is None else autoscaling.min_replicas
    return idle is None or idle < smallest


def may_sleep(spec: wire.Spec) -> bool:
    """Whether the service or a version may have no pods at all."""
    return any(scaled.min_replicas == 0 for scaled in _autoscalers(spec))


def may_idle(spec: wire.Spec) -> bool:
    """Whether KEDA may take all pods of the service or of a version in idle times."""
    return any(scaled.keda is not None and scaled.keda.idle_replica_count == 0 for scaled in _autoscalers(spec))


def _autoscalers(spec: wire.Spec) -> list[wire.Autoscaling]:
    return [part.autoscaling for part in (spec, *(spec.versions or ())) if part.autoscaling is not None]
