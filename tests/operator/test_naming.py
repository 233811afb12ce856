"""Names fit into 63 characters, are DNS labels, and are never the same for two owners.

case                                        expected
ordinary names                              readable: service-version, service-keys, ...
a hyphen in the version's name              a hash, as `faq` + `v1-b` and `faq-v1` + `b` would be the same
too long                                    cut, with a hash
any two services, versions, namespaces      different names
"""

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoring_operator import naming

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def dns_labels(longest: int) -> st.SearchStrategy[str]:
    """DNS labels, with few letters and many hyphens, so that gluing has chances to collide."""
    text = st.text(st.sampled_from("ab1-" + string.ascii_lowercase), min_size=1, max_size=longest)
    return text.filter(lambda name: LABEL.fullmatch(name) is not None)


services = dns_labels(naming.MAX_SERVICE_NAME)
versions = dns_labels(naming.MAX_VERSION_NAME)
few = st.text(st.sampled_from("ab-"), min_size=1, max_size=6).filter(lambda name: LABEL.fullmatch(name) is not None)

OF_SERVICE = (
    naming.service_name,
    naming.keys_secret_name,
    naming.tls_secret_name,
    naming.ingress_name,
    naming.network_policy_name,
    naming.service_account_name,
    naming.middleware_name,
    naming.router_name,
    naming.route_name,
)
OF_PAIR = (
    naming.deployment_name,
    naming.pdb_name,
    naming.host_label,
    naming.version_service_name,
    naming.pods_service_name,
    naming.scaled_object_name,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (naming.deployment_name("iris", "default"), "iris-default"),
        (naming.deployment_name("faq-de", "v2"), "faq-de-v2"),
        (naming.pdb_name("iris", "v1"), "iris-v1"),
        (naming.service_name("iris"), "iris"),
        (naming.keys_secret_name("iris"), "iris-keys"),
        (naming.tls_secret_name("iris"), "iris-tls"),
        (naming.ingress_name("iris"), "iris"),
        (naming.network_policy_name("iris"), "iris"),
        (naming.service_account_name("iris"), "iris"),
        (naming.middleware_name("iris"), "iris-redirect"),
        (naming.router_name("iris"), "iris--router"),
        (naming.host_label("iris", "team"), "iris-team"),
        (naming.host_label("iris", "my-team"), "iris-my-team"),
        (naming.host_label("faq-de", "team"), "faq-de--team"),
    ],
)
def test_ordinary_names_are_readable(name: str, expected: str) -> None:
    assert name == expected


def test_gluing_is_not_ambiguous() -> None:
    assert naming.deployment_name("faq", "v1-b") != naming.deployment_name("faq-v1", "b")
    assert naming.host_label("faq", "v1-b") != naming.host_label("faq-v1", "b")


@given(services, services, versions)
def test_a_router_is_never_taken_for_a_version(one: str, other: str, version: str) -> None:
    assert naming.router_name(one) not in (naming.deployment_name(other, version), naming.pdb_name(other, version))


@given(few, versions)
def test_the_services_of_a_version_differ(service: str, version: str) -> None:
    own = {naming.version_service_name(service, version), naming.pods_service_name(service, version)}
    assert len(own) == 2
    assert not own & {naming.service_name(service), naming.service_name(f"{service}-{version}")}


@given(services, versions)
def test_every_name_is_a_dns_label(service: str, version: str) -> None:
    names = [make(service) for make in OF_SERVICE] + [make(service, version) for make in OF_PAIR]
    assert all(LABEL.fullmatch(name) and len(name) <= naming.MAX_NAME for name in names)


@given(dns_labels(63), dns_labels(63))
def test_names_longer_than_allowed_are_cut(one: str, other: str) -> None:
    for make in OF_PAIR:
        name = make(one, other)
        assert LABEL.fullmatch(name)
        assert len(name) <= naming.MAX_NAME


@given(st.tuples(few, few), st.tuples(few, few))
def test_two_owners_never_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)
    for make in OF_PAIR:
        assert make(*one) != make(*other)


@given(dns_labels(63), dns_labels(63))
def test_two_services_never_share_a_name(one: str, other: str) -> None:
    assume(one != other)
    for make in OF_SERVICE:
        assert make(one) != make(other)


def test_long_names_that_begin_alike_differ() -> None:
    common = "a" * 60
    assert naming.keys_secret_name(common + "bb") != naming.keys_secret_name(common + "cc")
    assert naming.host_label("iris", "n" * 60 + "a") != naming.host_label("iris", "n" * 60 + "b")


def test_the_selector_is_part_of_the_labels() -> None:
    labels = naming.labels("iris", "v1")
    assert naming.selector("iris", "v1").items() <= labels.items()
    assert naming.labels("iris").items() <= labels.items()
    assert naming.selector_text({"b": "2", "a": "1"}) == "a=1,b=2"
    key, _, value = naming.MANAGED_SELECTOR.partition("=")
    assert labels[key] == value


@given(services, versions)
def test_keda_has_room_for_the_name_of_its_own_autoscaler(service: str, version: str) -> None:
    assert len(f"keda-hpa-{naming.scaled_object_name(service, version)}") <= naming.MAX_NAME


def test_a_scaled_object_has_its_deployments_name_where_that_fits() -> None:
    assert naming.scaled_object_name("iris", "v1") == naming.deployment_name("iris", "v1")
    assert naming.scaled_object_name("s" * 40, "v" * 15) != naming.deployment_name("s" * 40, "v" * 15)
