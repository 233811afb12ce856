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


def may_sleep(spec: wire.Spec) -> bool:
    """Whether the service or a version may have no pods at all."""
    parts = [spec, *(spec.versions or ())]
    return any(part.autoscaling is not None and part.autoscaling.min_replicas == 0 for part in parts)
