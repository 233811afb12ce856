"""What autoscalers have to keep."""

from scoring_operator.spec import wire
from scoring_operator.spec.rules.rule import Rule, Table
from scoring_operator.spec.sizes import bounds_in_order

SCALING: Table = {
    wire.Autoscaling: (
        Rule("minReplicas (1 if missing) must not be larger than maxReplicas (10 if missing)", bounds_in_order),
        Rule(
            "minReplicas: 0 goes with metric: Utilization, because a CPU that nobody uses wakes nothing: write 1 or "
            "more",
            lambda autoscaling: autoscaling.min_replicas != 0 or autoscaling.metric != "CPU",
        ),
    ),
}
