"""What autoscalers have to keep."""

from scoring_operator.spec import wire
from scoring_operator.spec.rules.rule import Rule, Table
from scoring_operator.spec.sizes import bounds_in_order, idle_below_smallest


def _only_one_scaler(autoscaling: wire.Autoscaling) -> bool:
    own = (autoscaling.metric, autoscaling.target, autoscaling.idle_seconds)
    return autoscaling.keda is None or own == (None, None, None)


SCALING: Table = {
    wire.Autoscaling: (
        Rule("minReplicas (1 if missing) must not be larger than maxReplicas (10 if missing)", bounds_in_order),
        Rule(
            "minReplicas: 0 goes with metric: Utilization, because a CPU that nobody uses wakes nothing: write 1 or "
            "more",
            lambda autoscaling: autoscaling.min_replicas != 0 or autoscaling.metric != "CPU",
        ),
        Rule(
            "keda scales by its own triggers: remove metric, target and idleSeconds (keda.cooldownPeriod takes its "
            "place), or remove keda",
            _only_one_scaler,
        ),
        Rule(
            "idleReplicaCount must be smaller than minReplicas (1 if missing): write idleReplicaCount: 0 and "
            "minReplicas: 1 or more, or remove it",
            idle_below_smallest,
        ),
    ),
}
