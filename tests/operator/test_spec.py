"""What a ScoringService becomes once it is read.

case                                   expected
the smallest                           one version called default, every default filled in
versions                               in the order written; the first is the default unless another says so
a version leaves a field out           it is the service's
a version says replicas                the service's autoscaling does not count for it
requestSettings, batching, pod         inherited field by field
resources and all others               inherited whole
nulls                                  as if not written
unknown fields                         ignored
"""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from scoring_operator.errors import Reason, SpecError
from scoring_operator.spec import Auth, NetworkPolicy, Pod, RequestSettings, Resources, Tls, merge, parse_service, wire
from tests.operator.services import MODEL, raw_service, service


def test_the_smallest_has_every_default() -> None:
    found = service()
    assert (found.name, found.namespace, found.generation) == ("iris", "team", 1)
    assert found.auth is Auth.KEY
    assert found.ingress is None
    assert found.network_policy is None
    (version,) = found.versions
    assert version is found.default_version
    assert (version.name, version.replicas, version.gpu, version.image) == ("default", 1, 0, None)
    assert version.request_settings == RequestSettings(60, 8, 500, 10 * 1024 * 1024)
    assert (version.batching.max_size, version.batching.max_delay_milliseconds) == (32, 0)
    assert version.pod == Pod()
    assert version.resources == Resources()


def test_the_result_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        service().name = "other"  # type: ignore[misc]


def test_service_level_fields() -> None:
    found = service(
        auth={"type": "None"},
        ingress={"host": "a.example.com", "path": "/faq/", "tls": {"issuer": "letsencrypt"}},
        networkPolicy={
            "enabled": True,
            "allowFrom": [{"namespaceSelector": {}}, {"podSelector": {"matchLabels": {"a": "b"}}}],
        },
    )
    assert found.auth is Auth.NONE
    assert found.ingress is not None
    assert found.ingress.tls == Tls(issuer="letsencrypt", issuer_kind="ClusterIssuer")
    assert found.path_prefix == "/faq"
    assert found.network_policy == NetworkPolicy(
        ({"namespaceSelector": {}}, {"podSelector": {"matchLabels": {"a": "b"}}})
    )


def test_a_network_policy_that_is_not_enabled_is_none() -> None:
    assert service(networkPolicy={"allowFrom": [{"podSelector": {}}]}).network_policy is None


@pytest.mark.parametrize(
    ("path", "prefix"), [(None, ""), ("/", ""), ("/faq", "/faq"), ("/faq/", "/faq"), ("/a/b", "/a/b")]
)
def test_the_prefix_of_a_path(path: str | None, prefix: str) -> None:
    found = service(ingress={"path": path} if path else {})
    assert found.ingress is not None
    assert found.path_prefix == prefix


def test_quantities_become_canonical_and_checksums_lower_case() -> None:
    model = {**MODEL, "sha256": "AB" * 32}
    version = service(model=model, resources={"requests": {"memory": "1024Mi", "cpu": 2}}).default_version
    assert version.resources.requests == {"cpu": "2", "memory": "1Gi"}
    assert version.model.sha256 == "ab" * 32


def test_nulls_count_as_missing() -> None:
    found = service(
        replicas=None, resources=None, pod={"affinity": {"nodeAffinity": None, "podAffinity": {}}, "env": None}
    )
    assert found.versions[0].replicas == 1
    assert found.versions[0].pod.affinity == {"podAffinity": {}}


def test_unknown_fields_are_left_alone() -> None:
    assert service(aFieldOfTheFuture={"x": 1}) == service()


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        service(model={"uri": "ftp://x", "framework": "fortran"}, auth={"token": {}})
    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.retry == "never"
    told = caught.value.message.split("; ")
    assert [sentence.partition(":")[0] for sentence in told] == [
        "spec.model.framework",
        "spec.model.uri",
        "spec.auth",
    ]


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(SpecError) as caught:
        service(model={"uri": "https://me:hunter2@models.example.com/a", "framework": "sklearn"})
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "raw", [{}, {"metadata": {}}, {"metadata": {"name": "a"}, "spec": None}, {"metadata": {"name": "a"}, "spec": []}]
)
def test_what_is_no_service_is_an_error_of_the_spec(raw: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        parse_service(raw)


def merged(spec: dict[str, Any]) -> list[Any]:
    """The versions of a spec whose rules nobody checks: what several versions become once they are supported."""
    return list(merge.merged_versions(wire.Spec.model_validate(spec)))


def test_versions_keep_their_order_and_the_first_is_the_default() -> None:
    found = merged({"versions": [{"name": name, "model": MODEL} for name in ("b", "a", "c")]})
    assert [(version.name, version.default) for version in found] == [("b", True), ("a", False), ("c", False)]
    found = merged({"versions": [{"name": "b", "model": MODEL}, {"name": "a", "model": MODEL, "default": True}]})
    assert [version.default for version in found] == [False, True]


def test_a_version_takes_what_it_leaves_out() -> None:
    spec = {
        "replicas": 3,
        "gpu": 1,
        "requestSettings": {"timeoutSeconds": 5, "maxConcurrent": 2},
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "pod": {"nodeSelector": {"disk": "ssd"}, "labels": {"team": "search"}},
        "versions": [
            {"name": "a", "model": MODEL},
            {
                "name": "b",
                "model": MODEL,
                "replicas": 0,
                "gpu": 0,
                "requestSettings": {"maxConcurrent": 9},
                "resources": {"limits": {"memory": "2Gi"}},
                "pod": {"labels": {"tier": "gold"}},
            },
        ],
    }
    first, second = merged(spec)
    assert (first.replicas, first.gpu, first.request_settings.timeout_seconds) == (3, 1, 5)
    assert first.pod.labels == {"team": "search"}
    assert (second.replicas, second.gpu) == (0, 0)
    assert second.request_settings == RequestSettings(timeout_seconds=5, max_concurrent=9)
    assert second.resources == Resources(limits={"memory": "2Gi"})
    assert second.pod.node_selector == {"disk": "ssd"}
    assert second.pod.labels == {"tier": "gold"}


def test_replicas_and_autoscaling_of_a_version_replace_each_other() -> None:
    spec = {
        "autoscaling": {"maxReplicas": 4},
        "versions": [{"name": "a", "model": MODEL}, {"name": "b", "model": MODEL, "replicas": 2}],
    }
    first, second = merged(spec)
    assert (first.replicas, first.autoscaling.max_replicas, first.autoscaling.min_replicas) == (None, 4, 1)
    assert (second.replicas, second.autoscaling) == (2, None)
    (only,) = merged({"replicas": 2, "versions": [{"name": "a", "model": MODEL, "autoscaling": {}}]})
    assert only.replicas is None
    assert only.autoscaling is not None


def test_the_default_names_the_short_form_like_a_version() -> None:
    short, long = service(), parse_service(raw_service(versions=[{"name": "default", "model": MODEL}]))
    assert short == long
