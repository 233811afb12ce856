"""A ScoringService as the operator knows it: parsed once, merged, checked and frozen.

`parse_service` is the only reader of a raw spec; everything else in the operator takes the objects below.
"""

from scoring_operator.spec.objects import (
    API_VERSION,
    DEFAULT_VERSION_NAME,
    GROUP,
    KIND,
    PLURAL,
    Auth,
    Autoscaling,
    Batching,
    DataCollection,
    Gateway,
    GatewayParent,
    Ingress,
    Model,
    NetworkPolicy,
    Pod,
    RequestSettings,
    Resources,
    ScoringService,
    Tls,
    Token,
    Version,
)
from scoring_operator.spec.parse import parse_service

__all__ = [
    "API_VERSION",
    "DEFAULT_VERSION_NAME",
    "GROUP",
    "KIND",
    "PLURAL",
    "Auth",
    "Autoscaling",
    "Batching",
    "DataCollection",
    "Gateway",
    "GatewayParent",
    "Ingress",
    "Model",
    "NetworkPolicy",
    "Pod",
    "RequestSettings",
    "Resources",
    "ScoringService",
    "Tls",
    "Token",
    "Version",
    "parse_service",
]
