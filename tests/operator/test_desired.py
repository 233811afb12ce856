"""Which children a service has, in which order, and where it answers.

spec or setting                    children
any                                ServiceAccount, Secret of the keys, Service, Deployment
auth None                          no Secret of the keys, no volume for it
a ServiceAccount of the user       no ServiceAccount
replicas 2                         PodDisruptionBudget
selfSigned                         Secret of the certificate; issuer and secretName: none
Traefik and TLS                    Middleware, where the cluster has the kind
networkPolicy                      NetworkPolicy
ingress, or the operator's domain  Ingress
"""

from typing import Any

import pytest

from scoring_operator.desired import desired_children, published_ingress, self_signed_hosts, service_url
from scoring_operator.errors import ImageUnknown, Reason
from scoring_operator.resources import IngressController
from scoring_operator.spec import Tls
from tests.operator.services import BuilderSettingsOf, fixture, fixture_names, service, surroundings

ALWAYS = ["ServiceAccount iris", "Secret iris-keys", "Service iris", "Deployment iris-default"]
WITH_TLS = {"host": "iris.example.com", "tls": {"selfSigned": True}}


def children(spec: dict[str, Any], **changes: Any) -> list[str]:
    of = service(**spec)
    made = desired_children(of, surroundings(of, **changes))
    return [f"{child['kind']} {child['metadata']['name']}" for child in made]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ALWAYS),
        ({"auth": {"type": "None"}}, [name for name in ALWAYS if "keys" not in name]),
        ({"pod": {"serviceAccountName": "mine"}}, ALWAYS[1:]),
        ({"replicas": 0}, ALWAYS),
        ({"replicas": 2}, [*ALWAYS, "PodDisruptionBudget iris-default"]),
        ({"ingress": {"host": "iris.example.com"}}, [*ALWAYS, "Ingress iris"]),
        (
            {"ingress": WITH_TLS},
            [
                "ServiceAccount iris",
                "Secret iris-keys",
                "Secret iris-tls",
                *ALWAYS[2:],
                "Middleware iris-redirect",
                "Ingress iris",
            ],
        ),
        (
            {"ingress": {"host": "iris.example.com", "tls": {"secretName": "mine"}}},
            [*ALWAYS, "Middleware iris-redirect", "Ingress iris"],
        ),
        (
            {"networkPolicy": {"enabled": True}},
            [
                "ServiceAccount iris",
                "Secret iris-keys",
                "NetworkPolicy iris",
                "Service iris",
                "Deployment iris-default",
            ],
        ),
    ],
    ids=str,
)
def test_children_in_order(spec: dict[str, Any], expected: list[str]) -> None:
    assert children(spec) == expected


def test_a_cluster_without_middlewares() -> None:
    assert "Middleware iris-redirect" not in children({"ingress": WITH_TLS}, middlewares=False)
    assert "Middleware iris-redirect" not in children(
        {"ingress": WITH_TLS}, ingress_controller=IngressController.UNKNOWN
    )


@pytest.mark.parametrize("name", fixture_names())
def test_every_child_is_owned_and_labelled(name: str) -> None:
    found = fixture(name)
    seen = set()
    for child in desired_children(found.service, found.surroundings):
        metadata = child["metadata"]
        assert metadata["namespace"] == found.service.namespace
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "scoring-operator"
        assert metadata["labels"]["scoring.dev/service"] == found.service.name
        (owner,) = metadata["ownerReferences"]
        assert owner["uid"] == found.service.uid
        assert owner["controller"]
        assert (child["kind"], metadata["name"]) not in seen
        seen.add((child["kind"], metadata["name"]))


@pytest.mark.parametrize("name", fixture_names())
def test_nothing_is_null_or_a_status(name: str) -> None:
    def check(value: Any) -> None:
        assert value is not None
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    found = fixture(name)
    for child in desired_children(found.service, found.surroundings):
        check(child)
        assert "status" not in child


def test_a_missing_image_is_an_error_that_says_where_to_name_it() -> None:
    of = service()
    with pytest.raises(ImageUnknown, match="SCORING_OPERATOR_RUNTIME_IMAGES") as caught:
        desired_children(of, surroundings(of, images={}))
    assert caught.value.reason is Reason.IMAGE_UNKNOWN


def test_the_image_of_the_user_wins() -> None:
    of = service(image="registry.example.com/own:1")
    deployment = next(child for child in desired_children(of, surroundings(of)) if child["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert {container["image"] for container in pod["containers"] + pod["initContainers"]} == {
        "registry.example.com/own:1"
    }


def test_secrets_are_never_left_out_by_mistake() -> None:
    """A child that is missing from the list is pruned: lost keys must be an error and not an empty list."""
    of = service(ingress=WITH_TLS)
    for lost in ("keys", "tls"):
        with pytest.raises(ValueError, match="the surroundings have none"):
            desired_children(of, surroundings(of, **{lost: None}))


DOMAIN = BuilderSettingsOf(ingress_domain="models.example.com")


@pytest.mark.parametrize(
    ("spec", "settings", "url"),
    [
        ({}, BuilderSettingsOf(), "http://iris.team.svc"),
        ({}, DOMAIN, "http://iris-team.models.example.com"),
        (
            {},
            BuilderSettingsOf(ingress_domain="m.example.com", ingress_tls="selfSigned"),
            "https://iris-team.m.example.com",
        ),
        ({"ingress": {"host": "a.example.com"}}, DOMAIN, "http://a.example.com"),
        ({"ingress": {**WITH_TLS, "path": "/faq/"}}, BuilderSettingsOf(), "https://iris.example.com/faq"),
        ({"ingress": {"path": "/faq"}}, BuilderSettingsOf(), "http://iris.team.svc/faq"),
    ],
)
def test_the_address(spec: dict[str, Any], settings: BuilderSettingsOf, url: str) -> None:
    assert service_url(service(**spec), settings) == url


@pytest.mark.parametrize(
    ("text", "tls"),
    [("", None), ("selfSigned", Tls(self_signed=True)), ("issuer:letsencrypt", Tls(issuer="letsencrypt"))],
)
def test_the_operators_way_to_a_certificate(text: str, tls: Tls | None) -> None:
    settings = BuilderSettingsOf(ingress_domain="models.example.com", ingress_tls=text)
    ingress = published_ingress(service(), settings)
    assert ingress is not None
    assert ingress.tls == tls
    assert self_signed_hosts(service(), settings) == (("iris-team.models.example.com",) if text == "selfSigned" else ())


def test_who_issues_certificates() -> None:
    assert self_signed_hosts(service(ingress=WITH_TLS), BuilderSettingsOf()) == ("iris.example.com",)
    other = {"host": "iris.example.com", "tls": {"secretName": "mine"}}
    assert self_signed_hosts(service(ingress=other), BuilderSettingsOf()) == ()
    assert self_signed_hosts(service(), BuilderSettingsOf()) == ()
