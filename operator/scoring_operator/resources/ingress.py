"""The Ingress of a service, and which of the three ways gives it its certificate."""

from typing import Any

from scoring_operator import naming
from scoring_operator.resources.ingress_annotations import controller_annotations
from scoring_operator.resources.manifest import Manifest, manifest
from scoring_operator.resources.pod import HTTP
from scoring_operator.resources.surroundings import Surroundings
from scoring_operator.spec import Ingress, ScoringService, Tls


def build_ingress(service: ScoringService, ingress: Ingress, surroundings: Surroundings) -> Manifest:
    """The Ingress that publishes `service` as `ingress` says; annotations of the user win over the operator's."""
    made = manifest("networking.k8s.io/v1", "Ingress", naming.ingress_name(service.name), service)
    annotations = {
        **controller_annotations(service, ingress, surroundings),
        **_issuer_annotation(ingress.tls),
        **ingress.annotations,
    }
    if annotations:
        made["metadata"]["annotations"] = annotations
    backend = {"service": {"name": naming.service_name(service.name), "port": {"name": HTTP}}}
    path = {"path": ingress.path.rstrip("/") or "/", "pathType": "Prefix", "backend": backend}
    rule: dict[str, Any] = {"http": {"paths": [path]}}
    if ingress.host:
        rule["host"] = ingress.host
    spec: dict[str, Any] = {"rules": [rule]}
    class_name = ingress.class_name or surroundings.settings.ingress_class
    if class_name:
        spec["ingressClassName"] = class_name
    if ingress.tls:
        spec["tls"] = [{"hosts": [ingress.host], "secretName": certificate_secret(service, ingress.tls)}]
    made["spec"] = spec
    return made


def certificate_secret(service: ScoringService, tls: Tls) -> str:
    """The name of the Secret that holds the certificate of the host."""
    return tls.secret_name or naming.tls_secret_name(service.name)


def _issuer_annotation(tls: Tls | None) -> dict[str, str]:
    """What makes cert-manager issue the certificate (https://cert-manager.io/docs/usage/ingress/)."""
    if tls is None or tls.issuer is None:
        return {}
    kind = "cluster-issuer" if tls.issuer_kind == "ClusterIssuer" else "issuer"
    return {f"cert-manager.io/{kind}": tls.issuer}
