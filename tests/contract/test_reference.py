"""docs/reference.md and the CRD have the same fields, and examples/full.yaml uses all that are supported.

The page is made from the CRD (`pytest tests/contract --update-goldens`), so a field without its line cannot be.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from scoring_operator.spec import parse_service
from tests.contract.reference import render

ROOT = Path(__file__).resolve().parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "scoring.dev_scoringservices.yaml").read_text())
REFERENCE = ROOT / "docs" / "reference.md"
SPEC = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_the_page_is_made_from_the_crd(golden: Callable[[Path, str], None]) -> None:
    golden(REFERENCE, render(CRD))


def paths(node: Any, path: str) -> Iterator[str]:
    for name, inner in node.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from paths(inner, f"{path}.{name}")
    if "items" in node:
        yield from paths(node["items"], f"{path}[]")


def test_every_field_has_its_line() -> None:
    text = REFERENCE.read_text()
    documented = set(re.findall(r"^(?:\| `|### )([\w.\[\]]+)", text, re.MULTILINE))
    assert documented >= {path for path in paths(SPEC, "spec") if not path.startswith("spec.versions[]")}
    assert documented >= {
        f"spec.versions[].{name}" for name in ("name", "model", "default", "control", "traffic", "mirror")
    }


ONE_OF_MANY = {
    "spec.versions",
    "spec.replicas",
    "spec.autoscaling.keda",
    "spec.gateway",
    "spec.rollout",
    "spec.ingress.tls.secretName",
    "spec.ingress.tls.issuer",
    "spec.ingress.tls.issuerKind",
}
"""Fields that another one in the example excludes."""


def supported(node: Any, path: str) -> Iterator[str]:
    """The fields that no rule refuses outright."""
    for name, inner in node.get("properties", {}).items():
        refused = any(rule["rule"] == "false" for rule in inner.get("x-kubernetes-validations", []))
        if not refused and f"{path}.{name}" not in ONE_OF_MANY:
            yield f"{path}.{name}"
            yield from supported(inner, f"{path}.{name}")
    if "items" in node:
        yield from supported(node["items"], f"{path}[]")


def used(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            yield from used(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from used(inner, f"{path}[]")


def test_the_full_example_has_every_supported_field() -> None:
    example = yaml.safe_load((ROOT / "examples" / "full.yaml").read_text())
    parse_service(example)
    assert set(supported(SPEC, "spec")) - set(used(example["spec"], "spec")) == set()


def test_every_example_can_be_parsed() -> None:
    found = [*ROOT.glob("examples/*/scoringservice.yaml"), ROOT / "examples" / "full.yaml"]
    assert len(found) >= 2
    for path in found:
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "ScoringService":
                assert parse_service(document).versions
