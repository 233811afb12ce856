"""What pods have to keep: what they may use, and what users may say about them."""

from scoring_operator.spec import patterns, wire
from scoring_operator.spec.rules.rule import Rule, Table
from scoring_operator.spec.sizes import no_gpus, quantities_are_good, requests_fit

USERS_VARIABLES = (
    "SCORING_BODY_TIMEOUT_SECONDS",
    "SCORING_CORS_ORIGINS",
    "SCORING_DOCS_AUTH",
    "SCORING_LOG_LEVEL",
    "SCORING_METRICS_AUTH",
    "SCORING_PRECISION",
    "SCORING_PROCESSES",
    "SCORING_ROOT",
    "SCORING_TOKEN_LEEWAY_SECONDS",
    "SCORING_TRUSTED_TYPES",
    "SCORING_UI",
)
"""The runtime's settings that have no field in the spec, so that a user may give them in pod.env."""


def _one_source(value: wire.ValueFrom) -> bool:
    return [value.secret_key_ref, value.config_map_key_ref, value.field_ref].count(None) == 2


def _is_users_variable(env: wire.Env) -> bool:
    return not env.name.startswith("SCORING_") or env.name in USERS_VARIABLES


def _labels_are_users(pod: wire.Pod) -> bool:
    return not any(patterns.RESERVED_LABEL.fullmatch(label) for label in pod.labels or {})


PODS: Table = {
    wire.Resources: (
        Rule(
            "a quantity must be a number of 0 or more with an optional unit, such as 500m or 2 for cpu and 512Mi or "
            "1Gi for memory",
            quantities_are_good,
        ),
        Rule("a request must not be larger than the limit of the same resource: raise the limit", requests_fit),
        Rule("GPUs are not written here: remove nvidia.com/gpu and write gpu: 1 beside resources", no_gpus),
    ),
    wire.ValueFrom: (Rule("write exactly one of secretKeyRef, configMapKeyRef and fieldRef", _one_source),),
    wire.Env: (
        Rule(
            "variables that start with SCORING_ belong to the operator: use the field of the spec (docs/runtime.md "
            "lists the few that may be set here)",
            _is_users_variable,
        ),
        Rule(
            "write either value or valueFrom, not both",
            lambda env: env.value is None or env.value_from is None,
        ),
    ),
    wire.Pod: (
        Rule(
            "labels that start with scoring.dev/, and app.kubernetes.io/managed-by, name and instance, belong to the "
            "operator: choose another key",
            _labels_are_users,
            "labels",
        ),
    ),
}
