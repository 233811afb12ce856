"""Which fields go together, as tables: what the CRD's CEL rules say, said again for API servers that do not run them.

The sentences are the CRD's own, word for word (tests/contract holds the two together): each says what is wrong and what
to write instead. `NOT_YET` holds what the API already has room for and the operator cannot do; to support such a field,
delete its line here and its rule in the CRD.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scoring_operator.frameworks import ACCELERATED_FRAMEWORKS, FRAMEWORKS
from scoring_operator.naming import MAX_SERVICE_NAME
from scoring_operator.spec import patterns, wire
from scoring_operator.spec.addresses import ADDRESS, FOLDER, FORMS, Form, climbs, names_user
from scoring_operator.spec.objects import SCRIPT
from scoring_operator.spec.sizes import bounds_in_order, may_sleep, no_gpus, quantities_are_good, requests_fit

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
MAX_GATEWAY_VERSIONS = 15
"""An HTTPRoute has 16 rules: one for each version that is picked by its name, and one for the shares."""


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for every object of a wire type."""

    sentence: str
    holds: Callable[[Any], bool]
    at: str = ""
    """The field (its name in the raw spec) that the sentence is about; empty: the object as a whole."""


def broken_rules(part: wire.Wire, path: str) -> Iterator[str]:
    """`path: sentence` for each rule that does not hold for `part` or anything in it."""
    for table in (RULES, NOT_YET):
        for kind, rules in table.items():
            if isinstance(part, kind):
                for rule in rules:
                    if not rule.holds(part):
                        yield f"{path}.{rule.at}: {rule.sentence}" if rule.at else f"{path}: {rule.sentence}"
    for name, info in type(part).model_fields.items():
        yield from _broken_inside(getattr(part, name), f"{path}.{info.alias or name}")


def _broken_inside(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, wire.Wire):
        yield from broken_rules(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_inside(item, f"{path}[{index}]")


def _matches(name: str, pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    def check(part: Any) -> bool:
        value = getattr(part, name)
        return value is None or pattern.fullmatch(value) is not None

    return check


def _all_match(name: str, pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda part: all(pattern.fullmatch(value) for value in getattr(part, name) or ())


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


def _one_way_to_a_certificate(tls: wire.Tls) -> bool:
    return [tls.secret_name is not None, tls.issuer is not None, tls.self_signed is True].count(True) == 1


def _one_source(value: wire.ValueFrom) -> bool:
    return [value.secret_key_ref, value.config_map_key_ref, value.field_ref].count(None) == 2


def _steps_go_up_to_100(rollout: wire.Rollout) -> bool:
    steps = rollout.steps
    return steps is None or (steps == sorted(set(steps)) and steps[-1:] == [100])


def _form_rule(form: Form) -> Rule:
    return Rule(form.sentence, lambda model: form.fits(model.uri), "uri")


def _can_be_accelerated(part: wire.Spec | wire.Version) -> bool:
    return part.accelerate != "onnx" or part.model is None or part.model.framework in ACCELERATED_FRAMEWORKS


def _is_users_variable(env: wire.Env) -> bool:
    return not env.name.startswith("SCORING_") or env.name in USERS_VARIABLES


def _labels_are_users(pod: wire.Pod) -> bool:
    return not any(patterns.RESERVED_LABEL.fullmatch(label) for label in pod.labels or {})


_ACCELERATED = Rule(
    "accelerate: onnx goes with framework sklearn, xgboost or lightgbm: remove it, or write accelerate: none",
    _can_be_accelerated,
)

_PATH_SENTENCE = (
    "path must start with '/' and have only letters, digits, '.', '_', '~', '-' and single slashes: write /faq"
)

RULES: Mapping[type[wire.Wire], tuple[Rule, ...]] = {
    wire.Metadata: (
        Rule(
            "metadata.name may have at most 40 characters, because the names of everything made for the service "
            "start with it: choose a shorter name",
            lambda metadata: len(metadata.name) <= MAX_SERVICE_NAME,
        ),
        Rule(
            "metadata.name must start with a letter and have only lower-case letters, digits and hyphens, because a "
            "Service gets this name: write a name such as iris-v2",
            _matches("name", patterns.DNS_LABEL),
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
        _ACCELERATED,
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
    wire.Rollout: (
        Rule(
            "steps must go up and end with 100: write [5, 25, 50, 100]",
            _steps_go_up_to_100,
            "steps",
        ),
        Rule(
            "action: Abort and action: Promote are about one version: name it in version, so that the next version is "
            "not meant as well",
            lambda rollout: rollout.action not in ("Abort", "Promote") or rollout.version is not None,
        ),
    ),
    wire.VersionFields: (
        Rule(
            "replicas and autoscaling exclude each other: remove replicas and write autoscaling.minReplicas and "
            "autoscaling.maxReplicas, or remove autoscaling",
            lambda fields: fields.replicas is None or fields.autoscaling is None,
        ),
    ),
    wire.Version: (
        Rule(
            "the name of a version must start with a letter and have only lower-case letters, digits and hyphens, at "
            "most 15 of them: write a name such as v2",
            _matches("name", patterns.DNS_LABEL),
            "name",
        ),
        _ACCELERATED,
        Rule(
            "a version either gets a share of the traffic or a mirror of it: remove traffic or mirror",
            lambda version: not (version.traffic and version.mirror),
        ),
    ),
    wire.Model: (
        Rule(
            "framework must be sklearn, xgboost, lightgbm, pytorch, onnx, tensorflow, keras, mlflow, huggingface or "
            "script",
            lambda model: model.framework in FRAMEWORKS,
            "framework",
        ),
        Rule(
            "uri must be s3://BUCKET/FOLDER/, gs://BUCKET/FOLDER/, az://CONTAINER/FOLDER/, hf://OWNER/REPOSITORY, "
            "models:/NAME/VERSION, oci://REGISTRY/REPOSITORY:TAG, https://HOST/FILE, pvc://CLAIM/FOLDER or "
            "file:///FOLDER, such as s3://models/iris/1/",
            _matches("uri", ADDRESS),
            "uri",
        ),
        *(_form_rule(form) for form in FORMS),
        Rule("uri must not climb with '..': write the path without it", lambda model: not climbs(model.uri), "uri"),
        Rule(
            "uri must not hold a user name or password: put them into a Secret and name it in credentials.secretName",
            lambda model: not names_user(model.uri),
            "uri",
        ),
        Rule(
            "sha256 must be 64 hexadecimal digits, as sha256sum prints them",
            _matches("sha256", patterns.SHA256),
            "sha256",
        ),
        Rule(
            "entryScript goes with framework: script: remove it, or write framework: script",
            lambda model: model.entry_script is None or model.framework == SCRIPT,
        ),
        Rule(
            "entryScript must be the path of a .py file inside the model's folder, without '..' and without a slash in "
            "front: write score.py",
            _matches("entry_script", patterns.ENTRY_SCRIPT),
            "entryScript",
        ),
    ),
    wire.DataCollection: (
        Rule(
            "uri must be the address of a folder without user, query and fragment: write s3://BUCKET/FOLDER/",
            _matches("uri", FOLDER),
            "uri",
        ),
        Rule(
            "nothing can be written to http: and https: addresses: write s3://BUCKET/FOLDER/",
            lambda collection: re.match(r"https?:", collection.uri) is None,
            "uri",
        ),
    ),
    wire.Resources: (
        Rule(
            "a quantity must be a number of 0 or more with an optional unit, such as 500m or 2 for cpu and 512Mi or "
            "1Gi for memory",
            quantities_are_good,
        ),
        Rule("a request must not be larger than the limit of the same resource: raise the limit", requests_fit),
        Rule("GPUs are not written here: remove nvidia.com/gpu and write gpu: 1 beside resources", no_gpus),
    ),
    wire.Autoscaling: (
        Rule("minReplicas (1 if missing) must not be larger than maxReplicas (10 if missing)", bounds_in_order),
        Rule(
            "minReplicas: 0 goes with metric: Utilization, because a CPU that nobody uses wakes nothing: write 1 or "
            "more",
            lambda autoscaling: autoscaling.min_replicas != 0 or autoscaling.metric != "CPU",
        ),
    ),
    wire.Ingress: (
        Rule(
            "tls needs a host that the certificate is for: write host: iris.example.com",
            lambda ingress: ingress.tls is None or ingress.host is not None,
        ),
        Rule(
            "host must be a full domain name in lower case without scheme, port or path, such as iris.example.com",
            _matches("host", patterns.HOST),
            "host",
        ),
        Rule(_PATH_SENTENCE, _matches("path", patterns.PATH), "path"),
    ),
    wire.Gateway: (
        Rule(
            "with redirectFrom, parentRefs must name the listeners for HTTPS, or HTTP is served by them too: write "
            "sectionName: https",
            lambda gateway: gateway.redirect_from is None or all(p.section_name for p in gateway.parent_refs),
        ),
        Rule(_PATH_SENTENCE, _matches("path", patterns.PATH), "path"),
    ),
    wire.Tls: (
        Rule("write exactly one of secretName, issuer and selfSigned: true", _one_way_to_a_certificate),
        Rule(
            "issuerKind says what kind issuer is: write issuer too, or remove issuerKind",
            lambda tls: tls.issuer_kind is None or tls.issuer is not None,
        ),
    ),
    wire.Sticky: (
        Rule(
            "header must be the name of a header, with letters, digits, hyphens and underscores only: write x-user-id",
            _matches("header", patterns.HEADER),
            "header",
        ),
    ),
    wire.AuthSettings: (
        Rule(
            "token goes with type: Token: remove it, or write type: Token",
            lambda auth: auth.token is None or auth.type == "Token",
        ),
    ),
    wire.Token: (
        Rule(
            "issuer and jwksUri go together: write both, or neither for the tokens of this cluster",
            lambda token: (token.issuer is None) == (token.jwks_uri is None),
        ),
        Rule(
            "issuer must be an https:// address without user, query and fragment, as the tokens write it: "
            "https://login.example.com/",
            _matches("issuer", patterns.ISSUER),
            "issuer",
        ),
        Rule(
            "audience must be one name without spaces and commas: write iris.default",
            _matches("audience", patterns.AUDIENCE),
            "audience",
        ),
        Rule(
            "jwksUri must be an https:// address without user and fragment: write https://login.example.com/keys",
            _matches("jwks_uri", patterns.JWKS_URI),
            "jwksUri",
        ),
        Rule(
            "a subject must be one name in full, without spaces, commas and stars: write "
            "system:serviceaccount:NAMESPACE:NAME",
            _all_match("subjects", patterns.SUBJECT),
            "subjects[]",
        ),
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

NOT_YET: Mapping[type[wire.Wire], tuple[Rule, ...]] = {}
