"""The Ingress: what each controller is told, and where the certificate comes from.

controller         with TLS                                without
Traefik            Middleware, or TLS only without one     nothing
ingress-nginx      both redirects, body size, timeouts     body size, timeouts
NGINX Inc          redirect, body size, timeouts           body size, timeouts
HAProxy (both)     redirect, timeout (body size)           timeout (body size)
unknown            the user's annotations only             the same
"""

from typing import Any

import pytest

from scoring_operator.resources import IngressController
from scoring_operator.resources.ingress import build_ingress
from tests.operator.services import BuilderSettingsOf, service, surroundings

C = IngressController
TLS = {"host": "iris.example.com", "tls": {"selfSigned": True}}
LIMITS = {"requestSettings": {"timeoutSeconds": 30, "maxBodyBytes": 2048}}
NGINX = "nginx.ingress.kubernetes.io"
NGINX_LIMITS = {
    f"{NGINX}/proxy-body-size": "2048",
    f"{NGINX}/proxy-read-timeout": "35",
    f"{NGINX}/proxy-send-timeout": "35",
}
NGINX_INC_LIMITS = {
    "nginx.org/client-max-body-size": "2048",
    "nginx.org/proxy-read-timeout": "35s",
    "nginx.org/proxy-send-timeout": "35s",
}


def ingress(wanted: dict[str, Any], **changes: Any) -> dict[str, Any]:
    of = service(ingress=wanted, **LIMITS)
    assert of.ingress is not None
    return build_ingress(of, of.ingress, surroundings(of, **changes))


def annotations(wanted: dict[str, Any], controller: C, **changes: Any) -> dict[str, str]:
    return ingress(wanted, ingress_controller=controller, **changes)["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    ("controller", "with_tls", "always"),
    [
        (C.TRAEFIK, {"traefik.ingress.kubernetes.io/router.middlewares": "team-iris-redirect@kubernetescrd"}, {}),
        (C.INGRESS_NGINX, {f"{NGINX}/ssl-redirect": "true", f"{NGINX}/force-ssl-redirect": "true"}, NGINX_LIMITS),
        (C.NGINX_INC, {"ingress.kubernetes.io/ssl-redirect": "true"}, NGINX_INC_LIMITS),
        (C.HAPROXY_TECH, {"haproxy.org/ssl-redirect": "true"}, {"haproxy.org/timeout-server": "35s"}),
        (
            C.HAPROXY_INGRESS,
            {"haproxy-ingress.github.io/ssl-redirect": "true"},
            {"haproxy-ingress.github.io/proxy-body-size": "2048", "haproxy-ingress.github.io/timeout-server": "35s"},
        ),
        (C.UNKNOWN, {}, {}),
    ],
)
def test_what_a_controller_is_told(controller: C, with_tls: dict[str, str], always: dict[str, str]) -> None:
    assert annotations(TLS, controller) == {**with_tls, **always}
    assert annotations({"host": "iris.example.com"}, controller) == always


def test_every_controller_is_in_the_table() -> None:
    marks = test_what_a_controller_is_told.pytestmark  # type: ignore[attr-defined]
    assert {row[0] for row in marks[0].args[1]} == set(C)


def test_traefik_without_its_own_kinds_answers_https_only() -> None:
    assert annotations(TLS, C.TRAEFIK, middlewares=False) == {"traefik.ingress.kubernetes.io/router.tls": "true"}


@pytest.mark.parametrize("controller", C)
def test_annotations_of_the_user_win(controller: C) -> None:
    own = dict.fromkeys(annotations(TLS, controller), "mine") | {"example.com/a": "b"}
    assert annotations({**TLS, "annotations": own}, controller) == own


@pytest.mark.parametrize(
    ("tls", "secret", "extra"),
    [
        ({"secretName": "mine"}, "mine", {}),
        ({"selfSigned": True}, "iris-tls", {}),
        ({"issuer": "le"}, "iris-tls", {"cert-manager.io/cluster-issuer": "le"}),
        ({"issuer": "le", "issuerKind": "Issuer"}, "iris-tls", {"cert-manager.io/issuer": "le"}),
    ],
)
def test_the_three_ways_to_a_certificate(tls: dict[str, Any], secret: str, extra: dict[str, str]) -> None:
    made = ingress({"host": "iris.example.com", "tls": tls}, ingress_controller=C.UNKNOWN)
    assert made["spec"]["tls"] == [{"hosts": ["iris.example.com"], "secretName": secret}]
    assert made["metadata"].get("annotations", {}) == extra


def test_class_host_and_path() -> None:
    spec = ingress({"className": "nginx", "host": "a.example.com", "path": "/faq/"})["spec"]
    assert spec["ingressClassName"] == "nginx"
    (rule,) = spec["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == ("a.example.com", "/faq", "Prefix")
    assert path["backend"]["service"] == {"name": "iris", "port": {"name": "http"}}


def test_the_class_of_the_operator_and_of_the_cluster() -> None:
    spec = ingress({}, settings=BuilderSettingsOf(ingress_class="internal"))["spec"]
    assert spec["ingressClassName"] == "internal"
    spec = ingress({})["spec"]
    assert "ingressClassName" not in spec
    assert "host" not in spec["rules"][0]
    assert "tls" not in spec


@pytest.mark.parametrize(
    ("name", "controller"),
    [
        ("traefik.io/ingress-controller", C.TRAEFIK),
        ("k8s.io/ingress-nginx", C.INGRESS_NGINX),
        ("k8s.io/ingress-nginx/internal", C.INGRESS_NGINX),
        ("nginx.org/ingress-controller", C.NGINX_INC),
        ("haproxy.org/ingress-controller/public", C.HAPROXY_TECH),
        ("haproxy-ingress.github.io/controller", C.HAPROXY_INGRESS),
        ("k8s.io/ingress-nginx-of-mine", C.UNKNOWN),
        ("example.com/other", C.UNKNOWN),
        ("", C.UNKNOWN),
        (None, C.UNKNOWN),
    ],
)
def test_the_controller_of_an_ingress_class(name: str | None, controller: C) -> None:
    assert C.of(name) is controller
