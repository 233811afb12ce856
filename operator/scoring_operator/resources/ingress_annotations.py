"""What each ingress controller must be told in its own annotations: HTTPS only, the largest body, the patience.

The runtime enforces the body limit and the timeout itself and answers in JSON, so the proxy in front gets a little more
than the runtime: its own limits are for what never reaches a pod. Traefik limits neither by default.
"""

from collections.abc import Callable, Mapping

from scoring_operator.envoy.routes import request_timeout
from scoring_operator.resources.middleware import middleware_reference
from scoring_operator.resources.surroundings import IngressController, Surroundings
from scoring_operator.spec import Ingress, RequestSettings, ScoringService

_Annotations = dict[str, str]


def controller_annotations(service: ScoringService, ingress: Ingress, surroundings: Surroundings) -> _Annotations:
    """The annotations for the controller at hand; none for one that is not known."""
    controller = surroundings.ingress_controller
    if controller is IngressController.TRAEFIK:
        return _traefik(service, surroundings.middlewares) if ingress.tls else {}
    if controller not in _WRITERS:
        return {}
    redirect, limits = _WRITERS[controller]
    return {**(redirect if ingress.tls else {}), **limits(_most_generous(service))}


def redirects_by_middleware(ingress: Ingress | None, surroundings: Surroundings) -> bool:
    """Whether the service needs a Traefik Middleware of its own."""
    is_traefik = surroundings.ingress_controller is IngressController.TRAEFIK
    return is_traefik and surroundings.middlewares and ingress is not None and ingress.tls is not None


def _traefik(service: ScoringService, middlewares: bool) -> _Annotations:
    """A redirect; where the cluster lacks the Middleware kind, a router that answers HTTPS only."""
    if middlewares:
        return {"traefik.ingress.kubernetes.io/router.middlewares": middleware_reference(service)}
    return {"traefik.ingress.kubernetes.io/router.tls": "true"}


def _most_generous(service: ScoringService) -> RequestSettings:
    return RequestSettings(
        timeout_seconds=request_timeout(service),
        max_body_bytes=max(version.request_settings.max_body_bytes for version in service.versions),
    )


def _ingress_nginx(limits: RequestSettings) -> _Annotations:
    return {
        "nginx.ingress.kubernetes.io/proxy-body-size": str(limits.max_body_bytes),
        "nginx.ingress.kubernetes.io/proxy-read-timeout": str(limits.timeout_seconds),
        "nginx.ingress.kubernetes.io/proxy-send-timeout": str(limits.timeout_seconds),
    }


def _nginx_inc(limits: RequestSettings) -> _Annotations:
    return {
        "nginx.org/client-max-body-size": str(limits.max_body_bytes),
        "nginx.org/proxy-read-timeout": f"{limits.timeout_seconds}s",
        "nginx.org/proxy-send-timeout": f"{limits.timeout_seconds}s",
    }


def _haproxy_tech(limits: RequestSettings) -> _Annotations:
    return {"haproxy.org/timeout-server": f"{limits.timeout_seconds}s"}


def _haproxy_ingress(limits: RequestSettings) -> _Annotations:
    return {
        "haproxy-ingress.github.io/proxy-body-size": str(limits.max_body_bytes),
        "haproxy-ingress.github.io/timeout-server": f"{limits.timeout_seconds}s",
    }


_WRITERS: Mapping[IngressController, tuple[_Annotations, Callable[[RequestSettings], _Annotations]]] = {
    IngressController.INGRESS_NGINX: (
        {
            "nginx.ingress.kubernetes.io/ssl-redirect": "true",
            "nginx.ingress.kubernetes.io/force-ssl-redirect": "true",
        },
        _ingress_nginx,
    ),
    IngressController.NGINX_INC: (
        {"ingress.kubernetes.io/ssl-redirect": "true"},
        _nginx_inc,
    ),
    IngressController.HAPROXY_TECH: ({"haproxy.org/ssl-redirect": "true"}, _haproxy_tech),
    IngressController.HAPROXY_INGRESS: ({"haproxy-ingress.github.io/ssl-redirect": "true"}, _haproxy_ingress),
}
"""What redirects to HTTPS, and what sets the limits. To add a controller, add its line and its IngressController."""
