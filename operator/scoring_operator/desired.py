"""The whole desired state of a service as a pure function: the list of its children, in the order to apply them."""

from collections.abc import Iterator

from scoring_operator import naming
from scoring_operator.resources.configmap import build_jwks
from scoring_operator.resources.deployment import build_deployment
from scoring_operator.resources.hpa import build_autoscaler
from scoring_operator.resources.httproute import build_redirect_route, build_route
from scoring_operator.resources.ingress import build_ingress
from scoring_operator.resources.ingress_annotations import redirects_by_middleware
from scoring_operator.resources.manifest import Manifest
from scoring_operator.resources.middleware import build_middleware
from scoring_operator.resources.networkpolicy import build_network_policy
from scoring_operator.resources.pdb import build_pdb, build_router_pdb, needs_pdb
from scoring_operator.resources.router import build_router, build_router_files, router_replicas
from scoring_operator.resources.scaledobject import build_scaled_object
from scoring_operator.resources.secret import build_keys_secret, build_tls_secret
from scoring_operator.resources.service import build_pods_service, build_service, build_version_service
from scoring_operator.resources.serviceaccount import build_service_account, needs_service_account
from scoring_operator.resources.surroundings import BuilderSettings, Surroundings
from scoring_operator.spec import Auth, Ingress, ScoringService, Tls
from scoring_operator.traffic import Traffic, traffic_of

_ISSUER = "issuer:"


def desired_children(service: ScoringService, surroundings: Surroundings) -> list[Manifest]:
    """Every object that should exist for `service`, each owned by it; what is not in the list is to be pruned.

    Raises ImageUnknown when a version names no image and `surroundings.images` has none for it, RouterImageUnknown,
    and ValueError when the surroundings lack the keys, the issuer or the certificate that the service needs.
    """
    traffic = traffic_of(service, surroundings.live)
    return [
        *_service_level_before_pods(service, surroundings),
        build_service(service, traffic.target),
        *_services_of_versions(service, traffic, surroundings),
        *_router(service, traffic, surroundings),
        *(build_deployment(service, version, surroundings) for version in service.versions),
        *(build_pdb(service, version) for version in service.versions if needs_pdb(version)),
        *_autoscalers(service, surroundings),
        *_way_in(service, traffic, surroundings),
    ]


def published_ingress(service: ScoringService, settings: BuilderSettings) -> Ingress | None:
    """How `service` is reached from outside: its own spec.ingress, or one made from the operator's domain, or None."""
    if service.ingress is not None:
        return service.ingress
    if service.gateway is not None or not settings.ingress_domain:
        return None
    label = naming.host_label(service.name, service.namespace)
    return Ingress(host=f"{label}.{settings.ingress_domain}", tls=_default_tls(settings))


def self_signed_hosts(service: ScoringService, settings: BuilderSettings) -> tuple[str, ...]:
    """The DNS names that the operator must issue a certificate for; empty when TLS is not its business."""
    ingress = published_ingress(service, settings)
    if ingress is None or ingress.tls is None or not ingress.tls.self_signed or ingress.host is None:
        return ()
    return (ingress.host,)


def service_url(service: ScoringService, settings: BuilderSettings) -> str:
    """The address to tell users: the Gateway's or the ingress' if there is one with a host, else the cluster's own.

    Whether a Gateway ends TLS is not known here; one that is published does.
    """
    if service.gateway is not None and service.gateway.hostnames:
        return f"https://{service.gateway.hostnames[0]}{service.path_prefix}"
    ingress = published_ingress(service, settings)
    prefix = service.path_prefix
    if ingress is None or ingress.host is None:
        return f"http://{service.name}.{service.namespace}.svc{prefix}"
    return f"{'https' if ingress.tls else 'http'}://{ingress.host}{prefix}"


def _default_tls(settings: BuilderSettings) -> Tls | None:
    if settings.ingress_tls.startswith(_ISSUER):
        return Tls(issuer=settings.ingress_tls.removeprefix(_ISSUER))
    return Tls(self_signed=True) if settings.ingress_tls else None


def _service_level_before_pods(service: ScoringService, surroundings: Surroundings) -> Iterator[Manifest]:
    if needs_service_account(service, surroundings.live):
        yield build_service_account(service)
    if service.auth is Auth.KEY:
        if surroundings.keys is None:
            raise ValueError(f"{service.name} has keys, and the surroundings have none")
        yield build_keys_secret(service, surroundings.keys)
    if service.trusts_the_cluster:
        if surroundings.cluster_issuer is None:
            raise ValueError(f"{service.name} takes the cluster's tokens, and the surroundings know no issuer")
        yield build_jwks(service, surroundings.cluster_issuer)
    if self_signed_hosts(service, surroundings.settings):
        if surroundings.tls is None:
            raise ValueError(f"{service.name} needs a certificate, and the surroundings have none")
        yield build_tls_secret(service, surroundings.tls)
    if service.network_policy is not None:
        yield build_network_policy(service, service.network_policy, surroundings.settings)


def _version_names(service: ScoringService, surroundings: Surroundings) -> list[str]:
    return [*(version.name for version in service.versions), *surroundings.live.leaving]


def _services_of_versions(service: ScoringService, traffic: Traffic, surroundings: Surroundings) -> Iterator[Manifest]:
    """A Service for each version, where a router or a Gateway has to tell them apart; and those that show the pods."""
    names = _version_names(service, surroundings)
    if service.gateway is not None or traffic.router:
        for name in names:
            yield build_version_service(service, name)
    polled = {version.name for version in service.versions if version.polled}
    for name in names:
        if traffic.router or name in polled:
            yield build_pods_service(service, name)


def _autoscalers(service: ScoringService, surroundings: Surroundings) -> Iterator[Manifest]:
    """What scales the versions that the operator does not scale itself."""
    for version in service.versions:
        bounds = version.autoscaling
        if bounds is None or version.polled:
            continue
        if bounds.keda is None:
            yield build_autoscaler(service, version, bounds)
        elif surroundings.scaled_objects:
            yield build_scaled_object(service, version, bounds, bounds.keda)


def _router(service: ScoringService, traffic: Traffic, surroundings: Surroundings) -> Iterator[Manifest]:
    if not traffic.router:
        return
    yield build_router_files(service, traffic, surroundings.live)
    yield build_router(service, surroundings)
    if router_replicas(service) > 1:
        yield build_router_pdb(service)


def _way_in(service: ScoringService, traffic: Traffic, surroundings: Surroundings) -> Iterator[Manifest]:
    if service.gateway is not None and surroundings.routes:
        yield build_route(service, service.gateway, traffic)
        if service.gateway.redirect_from:
            yield build_redirect_route(service, service.gateway)
    ingress = published_ingress(service, surroundings.settings)
    if redirects_by_middleware(ingress, surroundings):
        yield build_middleware(service)
    if ingress is not None:
        yield build_ingress(service, ingress, surroundings)
