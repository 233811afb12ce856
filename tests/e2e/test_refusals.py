"""What `kubectl apply` says to specs, by the API server alone: no operator takes part.

case                                     expected
each spec of specs/refused.yaml          refused, in words that say what to write instead
each spec of specs/accepted.yaml         accepted, and the second apply changes nothing
every field of the CRD                   `kubectl explain` has a description
a misspelt field                         refused by name
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SPECS = ROOT / "tests" / "contract" / "specs"
CRD = ROOT / "crds" / "scoring.dev_scoringservices.yaml"
MODEL = {"uri": "s3://models/iris/1/", "framework": "sklearn"}


def cases(file: str) -> list[Any]:
    entries = yaml.safe_load((SPECS / file).read_text())
    return [pytest.param(with_model(entry), id=entry["case"]) for entry in entries]


def with_model(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_model(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_model(inner) for inner in value]
    return MODEL if value == "MODEL" else value


def manifest(case: dict[str, Any]) -> str:
    return json.dumps(
        {
            "apiVersion": "scoring.dev/v1alpha1",
            "kind": "ScoringService",
            "metadata": {"name": case.get("name", "refused-or-not"), "namespace": "default"},
            "spec": case["spec"],
        }
    )


@pytest.fixture(scope="module")
def crd(kubectl: Any) -> dict[str, Any]:
    """The CRD, as this tree has it, established in the cluster."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    kubectl("wait", "--for=condition=Established", "crd/scoringservices.scoring.dev", "--timeout=30s")
    return yaml.safe_load(CRD.read_text())


@pytest.mark.parametrize("case", cases("refused.yaml"))
def test_refused_with_advice(kubectl: Any, crd: dict[str, Any], case: dict[str, Any]) -> None:
    answer = kubectl("apply", "--dry-run=server", "-f", "-", input=manifest(case), check=False)
    assert answer.returncode != 0, answer.stdout
    for words in case["says"]:
        assert words in answer.stderr


@pytest.mark.parametrize("case", cases("accepted.yaml"))
def test_accepted_and_settled(kubectl: Any, crd: dict[str, Any], case: dict[str, Any]) -> None:
    """Server-side dry run twice: no refusal, and defaults do not make the object differ from what was applied."""
    first = kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", input=manifest(case))
    again = json.loads(first.stdout)
    second = kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", input=manifest({**case, "spec": again["spec"]}))
    assert json.loads(second.stdout)["spec"] == again["spec"]
    assert contains(again["spec"], case["spec"])


def contains(live: Any, written: Any) -> bool:
    """Whether everything written is there unchanged."""
    if isinstance(written, dict):
        return isinstance(live, dict) and all(key in live and contains(live[key], written[key]) for key in written)
    if isinstance(written, list):
        return len(live) == len(written) and all(map(contains, live, written))
    return bool(live == written)


def test_a_misspelt_field_is_named(kubectl: Any, crd: dict[str, Any]) -> None:
    case = {"spec": {"model": MODEL, "replica": 2}}
    answer = kubectl("apply", "--dry-run=server", "-f", "-", input=manifest(case), check=False)
    assert answer.returncode != 0
    assert 'unknown field "spec.replica"' in answer.stderr


def test_explain_describes_every_field(kubectl: Any, crd: dict[str, Any]) -> None:
    text = kubectl("explain", "scoringservice", "--recursive").stdout
    assert "timeoutSeconds" in text
    fields = re.findall(r"^  [ ]*([A-Za-z0-9]+)\s+<", text, re.MULTILINE)
    assert len(fields) > 100
    for path in ("", ".spec", ".spec.model.uri", ".spec.requestSettings.timeoutSeconds", ".spec.versions.traffic", ".status.url"):
        described = kubectl("explain", f"scoringservice{path}").stdout
        assert "<empty>" not in described, described
        assert "DESCRIPTION" in described


def test_kubectl_diff_shows_nothing_after_apply(kubectl: Any, crd: dict[str, Any]) -> None:
    """The defaults of the schema do not show up as differences to what the user wrote."""
    case = {"name": "without-difference", "spec": {"model": MODEL, "requestSettings": {"timeoutSeconds": 5}}}
    try:
        kubectl("apply", "-f", "-", input=manifest(case))
        assert kubectl("diff", "-f", "-", input=manifest(case)).stdout == ""
        kubectl("scale", "scoringservice/without-difference", "-n", "default", "--replicas=3")
        live = json.loads(kubectl("get", "ss", "without-difference", "-n", "default", "-o", "json").stdout)
        assert live["spec"]["replicas"] == 3
        assert live["spec"]["requestSettings"]["timeoutSeconds"] == 5
        assert live["spec"]["requestSettings"]["maxConcurrent"] == 8
    finally:
        kubectl("delete", "ss", "without-difference", "-n", "default", "--ignore-not-found")
