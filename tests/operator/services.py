"""Small builders of raw ScoringServices and of what surrounds them."""

import datetime as dt
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from scoring_operator.certificates import Certificate
from scoring_operator.keys import Keys
from scoring_operator.resources import IngressController, Surroundings
from scoring_operator.spec import ScoringService, parse_service
from scoring_operator.tokens import ClusterIssuer
from scoring_operator.traffic import Live

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
SPECS = HERE.parent / "contract" / "specs"
MODEL = {"uri": "s3://models/iris/1/", "framework": "sklearn"}
ISSUER = ClusterIssuer("https://kubernetes.default.svc.cluster.local", '{"keys":[{"kid":"1","kty":"RSA"}]}')
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
IMAGES = {
    "sklearn": "registry.example.com/scoring-sklearn:0.1.0",
    "xgboost": "registry.example.com/scoring-xgboost:0.1.0",
    "lightgbm": "registry.example.com/scoring-lightgbm:0.1.0",
    "pytorch": "registry.example.com/scoring-pytorch:0.1.0",
    "onnx": "registry.example.com/scoring-onnx:0.1.0",
    "tensorflow": "registry.example.com/scoring-tensorflow:0.1.0",
    "keras": "registry.example.com/scoring-keras:0.1.0",
    "mlflow": "registry.example.com/scoring-mlflow:0.1.0",
    "huggingface": "registry.example.com/scoring-huggingface:0.1.0",
    "script": "registry.example.com/scoring-script:0.1.0",
}


@dataclass(frozen=True)
class BuilderSettingsOf:
    """The operator's settings that reach a manifest, with the operator's own defaults."""

    namespace: str = "scoring-system"
    image_pull_policy: str = "IfNotPresent"
    router_image: str = "registry.example.com/envoy:1"
    ingress_domain: str = ""
    ingress_class: str = ""
    ingress_tls: str = ""
    ingress_namespaces: tuple[str, ...] = ("ingress-nginx", "traefik")


def raw_service(name: str = "iris", **spec: Any) -> dict[str, Any]:
    """A raw ScoringService; without `model` or `versions` it gets a good model."""
    if "model" not in spec and "versions" not in spec:
        spec["model"] = dict(MODEL)
    metadata = {"name": name, "namespace": "team", "uid": "5a1e7b3c-0000-4000-8000-000000000001", "generation": 1}
    return {"apiVersion": "scoring.dev/v1alpha1", "kind": "ScoringService", "metadata": metadata, "spec": spec}


def service(name: str = "iris", **spec: Any) -> ScoringService:
    """The parsed service that `raw_service` describes."""
    return parse_service(raw_service(name, **spec))


def surroundings(of: ScoringService, **changes: Any) -> Surroundings:
    """Surroundings with images, keys, an issuer and a certificate; `settings=…` and others replace them."""
    images = {version.name: IMAGES[version.model.framework] for version in of.versions}
    whole = Surroundings(
        settings=BuilderSettingsOf(),
        images=images,
        keys=Keys("first-key-of-the-tests", "second-key-of-the-tests"),
        cluster_issuer=ISSUER,
        tls=Certificate(b"certificate in PEM\n", b"key in PEM\n", b"authority in PEM\n"),
        ingress_controller=IngressController.TRAEFIK,
    )
    return replace(whole, **changes)


@cache
def spec_cases(file: str) -> list[dict[str, Any]]:
    """The cases of tests/contract/specs/FILE, with the good model in place of MODEL."""
    return [_with_model(case) for case in yaml.safe_load((SPECS / file).read_text())]


def _with_model(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_model(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_model(inner) for inner in value]
    return dict(MODEL) if value == "MODEL" else value


@dataclass(frozen=True)
class Fixture:
    """A service of tests/operator/fixtures with its surroundings."""

    raw: dict[str, Any]
    service: ScoringService
    surroundings: Surroundings


def fixture_names() -> list[str]:
    """The names of all fixtures."""
    return sorted(path.stem for path in FIXTURES.glob("*.yaml"))


def fixture(name: str) -> Fixture:
    """The fixture `name`, read anew."""
    content = yaml.safe_load((FIXTURES / f"{name}.yaml").read_text())
    raw = raw_service(content["name"], **content["spec"])
    parsed = parse_service(raw)
    changes = {
        "settings": BuilderSettingsOf(**content.get("settings", {})),
        "live": Live(**content.get("live", {})),
        "ingress_controller": IngressController[content.get("controller", "UNKNOWN")],
    }
    return Fixture(raw, parsed, surroundings(parsed, **changes))


class _PlainDumper(yaml.SafeDumper):
    """Writes everything out, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_of(documents: list[dict[str, Any]]) -> str:
    """The documents as one YAML text, keys in the order they have."""
    return yaml.dump_all(documents, Dumper=_PlainDumper, sort_keys=False, width=120)
