"""What a service as a whole has to keep."""

from collections.abc import Callable

from scoring_operator.naming import MAX_SERVICE_NAME
from scoring_operator.spec import patterns, wire
from scoring_operator.spec.rules.models import ACCELERATED
from scoring_operator.spec.rules.rule import Rule, Table, matches
from scoring_operator.spec.sizes import may_idle, may_sleep

MAX_GATEWAY_VERSIONS = 15
"""An HTTPRoute has 16 rules: one for each version that is picked by its name, and one for the shares."""


def _one_model(spec: wire.Spec) -> bool:
    return spec.model is None or spec.versions is None


def _some_model(spec: wire.Spec) -> bool:
    return spec.model is not None or spec.versions is not None


def _names_differ(spec: wire.Spec) -> bool:
    names = [version.name for version in spec.versions or ()]
    return len(set(names)) == len(names)


def _at_most_one(name: str) -> Callable[[wire.Spec], bool]:
    return lambda spec: sum(bool(getattr(version, name)) for version in spec.versions or ()) <= 1


def _traffic_fits(spec: wire.Spec) -> bool:
    return sum(version.traffic or 0 for version in spec.versions or ()) <= 100


def _default_is_no_mirror(spec: wire.Spec) -> bool:
    versions = spec.versions or []
    named = [version for version in versions if version.default]
    return not any(version.mirror for version in (named or versions[:1]))


SERVICE: Table = {
    wire.Metadata: (
        Rule(
            "metadata.name may have at most 40 characters, because the names of everything made for the service "
            "start with it: choose a shorter name",
            lambda metadata: len(metadata.name) <= MAX_SERVICE_NAME,
        ),
        Rule(
            "metadata.name must start with a letter and have only lower-case letters, digits and hyphens, because a "
            "Service gets this name: write a name such as iris-v2",
            matches("name", patterns.DNS_LABEL),
        ),
    ),
    wire.Spec: (
        Rule("write either model (one model) or versions (a list), not both", _one_model),
        Rule("a model is missing: write model: {uri: s3://bucket/folder/, framework: sklearn}", _some_model),
        Rule(
            "each version needs a name of its own: rename one of those that are called the same",
            _names_differ,
            "versions",
        ),
        *ACCELERATED,
        Rule("at most one version may say default: true: remove it from the others", _at_most_one("default")),
        Rule("at most one version may say control: true: remove it from the others", _at_most_one("control")),
        Rule(
            "the traffic of all versions adds up to more than 100: lower it; what is left of 100 goes to the "
            "default version",
            _traffic_fits,
        ),
        Rule(
            "the default version answers the requests and cannot mirror them to itself: remove its mirror, or write "
            "default: true for another version",
            _default_is_no_mirror,
        ),
        Rule(
            "a Gateway's route has room for 15 versions: remove some, or write ingress instead of gateway",
            lambda spec: spec.gateway is None or len(spec.versions or ()) <= MAX_GATEWAY_VERSIONS,
        ),
        Rule(
            "a Gateway draws each request for itself: remove sticky, or write ingress instead of gateway",
            lambda spec: spec.gateway is None or spec.sticky is None,
        ),
        Rule(
            "write either ingress or gateway, not both",
            lambda spec: spec.ingress is None or spec.gateway is None,
        ),
        Rule(
            "minReplicas: 0 needs the router, in which requests wait, and with gateway there is none: write 1 or more, "
            "or ingress instead of gateway",
            lambda spec: spec.gateway is None or not may_sleep(spec),
        ),
        Rule(
            "idleReplicaCount: 0 needs the router, in which requests wait, and with gateway there is none: remove it, "
            "or write ingress instead of gateway",
            lambda spec: spec.gateway is None or not may_idle(spec),
        ),
        Rule(
            "a rollout moves the traffic from one version to another: write versions (a list) instead of model, or "
            "remove rollout",
            lambda spec: spec.rollout is None or spec.model is None,
        ),
        Rule(
            "a rollout judges by what the router counts, and a Gateway tells nothing: remove rollout, or write ingress "
            "instead of gateway",
            lambda spec: spec.rollout is None or spec.gateway is None,
        ),
    ),
    wire.VersionFields: (
        Rule(
            "replicas and autoscaling exclude each other: remove replicas and write autoscaling.minReplicas and "
            "autoscaling.maxReplicas, or remove autoscaling",
            lambda fields: fields.replicas is None or fields.autoscaling is None,
        ),
    ),
}
