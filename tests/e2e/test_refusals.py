"""What `kubectl apply` says to specs, by the API server alone: no operator takes part.

case                                     expected
each spec of specs/refused.yaml          refused, in words that say what to write instead
each spec of specs/accepted.yaml         accepted, and what the server made of it is accepted unchanged
every field the server publishes         has a description, which `kubectl explain` shows
a misspelt field                         refused by name
apply, then diff, then scale             no difference; scale changes replicas and nothing else
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Kubectl
from tests.operator.services import MODEL, spec_cases
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e

CRD = Path(__file__).resolve().parents[2] / "crds" / "scoring.dev_scoringservices.yaml"
Case = dict[str, Any]


def manifest(case: Case) -> str:
    """The case as a ScoringService in JSON."""
    metadata = {"name": case.get("name", "refused-or-not"), "namespace": "default"}
    head = {"apiVersion": "scoring.dev/v1alpha1", "kind": "ScoringService", "metadata": metadata}
    return json.dumps({**head, "spec": case["spec"]})


@pytest.fixture(scope="module")
def crd(kubectl: Kubectl) -> Case:
    """The CRD, as this tree has it, established in the cluster."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    kubectl("wait", "--for=condition=Established", "crd/scoringservices.scoring.dev", f"--timeout={PATIENCE}s")
    return yaml.safe_load(CRD.read_text())


@pytest.mark.parametrize("case", spec_cases("refused.yaml"), ids=lambda case: case["case"])
def test_refused_with_advice(kubectl: Kubectl, crd: Case, case: Case) -> None:
    answer = kubectl("apply", "--dry-run=server", "-f", "-", input=manifest(case), check=False)
    assert answer.returncode != 0, answer.stdout
    for words in case["says"]:
        assert words in answer.stderr


@pytest.mark.parametrize("case", spec_cases("accepted.yaml"), ids=lambda case: case["case"])
def test_accepted_and_settled(kubectl: Kubectl, crd: Case, case: Case) -> None:
    first = apply_dry(kubectl, case)
    assert contains(first, case["spec"])
    assert apply_dry(kubectl, {**case, "spec": first}) == first


def apply_dry(kubectl: Kubectl, case: Case) -> Case:
    """The spec that the API server would store."""
    answer = kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", input=manifest(case))
    return json.loads(answer.stdout)["spec"]


def contains(live: Any, written: Any) -> bool:
    """Whether everything written is there unchanged."""
    if isinstance(written, dict):
        return isinstance(live, dict) and all(key in live and contains(live[key], written[key]) for key in written)
    if isinstance(written, list):
        return len(live) == len(written) and all(map(contains, live, written))
    return bool(live == written)


def test_a_misspelt_field_is_named(kubectl: Kubectl, crd: Case) -> None:
    case = {"spec": {"model": MODEL, "replica": 2}}
    answer = kubectl("apply", "--dry-run=server", "-f", "-", input=manifest(case), check=False)
    assert answer.returncode != 0
    assert 'unknown field "spec.replica"' in answer.stderr


def test_every_published_field_has_a_description(kubectl: Kubectl, crd: Case) -> None:
    published = json.loads(kubectl("get", "--raw", "/openapi/v3/apis/scoring.dev/v1alpha1").stdout)
    schema = published["components"]["schemas"]["dev.scoring.v1alpha1.ScoringService"]
    undescribed = [path for path, node in fields(schema, "") if not node.get("description")]
    assert undescribed == []
    explained = kubectl("explain", "scoringservice.spec.requestSettings.timeoutSeconds").stdout
    assert "in seconds" in explained
    assert "Default: 60" in explained


def fields(node: Case, path: str) -> Iterator[tuple[str, Case]]:
    """Every property and item below `node`, metadata apart, which Kubernetes describes."""
    for name, inner in node.get("properties", {}).items():
        if path or name != "metadata":
            yield f"{path}.{name}", inner
            yield from fields(inner, f"{path}.{name}")
    if "items" in node:
        yield f"{path}[]", node["items"]
        yield from fields(node["items"], f"{path}[]")


def test_apply_diff_and_scale(kubectl: Kubectl, crd: Case) -> None:
    case = {"name": "without-difference", "spec": {"model": MODEL, "requestSettings": {"timeoutSeconds": 5}}}
    try:
        kubectl("apply", "-f", "-", input=manifest(case))
        assert kubectl("diff", "-f", "-", input=manifest(case)).stdout == ""
        kubectl("scale", "scoringservice/without-difference", "-n", "default", "--replicas=0")
        live = json.loads(kubectl("get", "ss", "without-difference", "-n", "default", "-o", "json").stdout)["spec"]
        assert live["replicas"] == 0
        assert live["requestSettings"]["timeoutSeconds"] == 5
        assert live["requestSettings"]["maxConcurrent"] == 8
        assert kubectl("diff", "-f", "-", input=manifest(case)).stdout == ""
    finally:
        kubectl("delete", "ss", "without-difference", "-n", "default", "--ignore-not-found")
