"""From a raw ScoringService to the parsed one: read the shape, check the rules, merge the versions."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from scoring_operator.errors import SpecError
from scoring_operator.spec import wire
from scoring_operator.spec.merge import merged_versions, without_nulls
from scoring_operator.spec.objects import (
    Analysis,
    Auth,
    Gateway,
    GatewayParent,
    Ingress,
    NetworkPolicy,
    Rollout,
    RolloutAction,
    ScoringService,
    Tls,
    Token,
)
from scoring_operator.spec.rules import broken_rules


def parse_service(raw: Mapping[str, Any]) -> ScoringService:
    """The service that `raw` (a ScoringService as the API returns it) describes.

    Raises SpecError, with one sentence for each thing that is wrong, when it cannot be carried out as written.
    """
    try:
        service = wire.Service.model_validate(dict(raw))
    except ValidationError as error:
        raise SpecError("; ".join(_sentence(problem) for problem in error.errors(include_url=False))) from None
    problems = [*broken_rules(service.metadata, "metadata"), *broken_rules(service.spec, "spec")]
    if problems:
        raise SpecError("; ".join(problems))
    spec, metadata = service.spec, service.metadata
    auth = Auth(spec.auth.type) if spec.auth and spec.auth.type else Auth.KEY
    return ScoringService(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        generation=metadata.generation,
        versions=merged_versions(spec),
        auth=auth,
        token=_token(spec.auth, metadata) if spec.auth and auth is Auth.TOKEN else None,
        grpc=bool(spec.grpc and spec.grpc.enabled),
        ingress=_ingress(spec.ingress) if spec.ingress else None,
        gateway=_gateway(spec.gateway) if spec.gateway else None,
        network_policy=_network_policy(spec.network_policy),
        sticky_header=spec.sticky.header if spec.sticky else None,
        rollout=_rollout(spec.rollout) if spec.rollout else None,
    )


def _sentence(problem: Any) -> str:
    """One problem of the shape: the path to it, then what is expected there."""
    path = ""
    for part in problem["loc"]:
        separator = "." if path else ""
        path += f"[{part}]" if isinstance(part, int) else f"{separator}{part}"
    if problem["type"] == "missing":
        return f"{path}: is missing and must be written"
    said = str(problem["msg"])
    return f"{path}: {said[0].lower()}{said[1:]}"


def _token(auth: wire.AuthSettings, metadata: wire.Metadata) -> Token:
    token = auth.token or wire.Token()
    return Token(
        audience=token.audience or f"{metadata.name}.{metadata.namespace}",
        issuer=token.issuer,
        jwks_uri=token.jwks_uri,
        subjects=tuple(dict.fromkeys(token.subjects or ())),
    )


def _ingress(ingress: wire.Ingress) -> Ingress:
    return Ingress(
        class_name=ingress.class_name,
        host=ingress.host,
        path=ingress.path or "/",
        annotations=ingress.annotations or {},
        tls=_tls(ingress.tls) if ingress.tls else None,
    )


def _gateway(gateway: wire.Gateway) -> Gateway:
    return Gateway(
        parents=_parents(gateway.parent_refs),
        redirect_from=_parents(gateway.redirect_from or ()),
        path=gateway.path or "/",
        hostnames=tuple(gateway.hostnames or ()),
    )


def _parents(parents: Iterable[wire.GatewayParent | wire.GatewayListener]) -> tuple[GatewayParent, ...]:
    return tuple(GatewayParent(parent.name, parent.namespace, parent.section_name) for parent in parents)


def _tls(tls: wire.Tls) -> Tls:
    return Tls(
        secret_name=tls.secret_name,
        issuer=tls.issuer,
        issuer_kind=tls.issuer_kind or "ClusterIssuer",
        self_signed=bool(tls.self_signed),
    )


def _network_policy(policy: wire.NetworkPolicy | None) -> NetworkPolicy | None:
    if policy is None or not policy.enabled:
        return None
    peers = (peer.model_dump(by_alias=True, exclude_none=True) for peer in policy.allow_from or ())
    return NetworkPolicy(allow_from=tuple(without_nulls(peer) for peer in peers))


def _rollout(rollout: wire.Rollout) -> Rollout:
    given = rollout.model_dump(exclude_none=True)
    if "steps" in given:
        given["steps"] = tuple(given["steps"])
    given["analysis"] = Analysis(**given.get("analysis", {}))
    given["action"] = RolloutAction(given.get("action", RolloutAction.RUN))
    return Rollout(**given)
