"""What the builders make is taken by a real API server as it is: no operator takes part, and nothing is stored.

case                                     expected
each child of each fixture service       accepted, and the answer already contains what was sent
each pod template                        passes the Pod Security Standard "restricted"
each quantity of specs/quantities.txt    returned as the table says
"""

import copy
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from scoring_operator.desired import desired_children
from scoring_operator.diff import differences
from tests.e2e.cluster import Kubectl
from tests.operator.services import SPECS, fixture, fixture_names

pytestmark = pytest.mark.e2e

OPTIONAL = {"Middleware": "traefik.io", "HTTPRoute": "gateway.networking.k8s.io", "ScaledObject": "keda.sh"}
"""Kinds that not every cluster has, and their API groups."""


@pytest.fixture(scope="module")
def restricted(kubectl: Kubectl) -> Iterator[str]:
    """The name of a namespace that admits restricted pods only."""
    name = f"restricted-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    head = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("create", "-f", "-", input=json.dumps(head))
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def children(name: str, namespace: str) -> list[dict[str, Any]]:
    """The children of a fixture, moved into `namespace`."""
    found = fixture(name)
    moved = copy.deepcopy(desired_children(found.service, found.surroundings))
    for child in moved:
        child["metadata"]["namespace"] = namespace
        if child["metadata"]["name"].endswith("-tls"):
            child["type"] = "Opaque"  # the certificate of the fixtures is none
    return moved


@pytest.mark.parametrize("name", fixture_names())
def test_children_are_taken_as_they_are(kubectl: Kubectl, restricted: str, name: str) -> None:
    for child in children(name, restricted):
        group = OPTIONAL.get(child["kind"])
        if group and not kubectl("api-resources", f"--api-group={group}", "-o", "name").stdout:
            continue
        answer = kubectl(
            *(
                "apply",
                "--server-side",
                "--dry-run=server",
                "--field-manager=scoring-operator",
                "-o",
                "json",
                "-f",
                "-",
            ),
            input=json.dumps(child),
        )
        live = json.loads(answer.stdout)
        assert differences(live, child) == []
        assert "would violate PodSecurity" not in answer.stderr


@pytest.mark.parametrize("name", fixture_names())
def test_pods_are_admitted_where_only_restricted_ones_are(kubectl: Kubectl, restricted: str, name: str) -> None:
    for child in children(name, restricted):
        if child["kind"] != "Deployment":
            continue
        template = child["spec"]["template"]
        kept = {
            key: value
            for key, value in template["spec"].items()
            if key not in {"priorityClassName", "runtimeClassName"}
        }
        kept["serviceAccountName"] = "default"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": restricted}, "spec": kept}
        kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))


def test_quantities_come_back_in_the_spelling_of_the_table(kubectl: Kubectl) -> None:
    lines = (SPECS / "quantities.txt").read_text().splitlines()
    table = [line.split() for line in lines if line and not line.startswith("#")]
    containers = [
        {"name": f"c{number}", "image": "example.com/none", "resources": {"limits": {"memory": written}}}
        for number, (written, _) in enumerate(table)
    ]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "quantities"}, "spec": spec}
    answer = kubectl(
        "create", "--dry-run=server", "-n", "default", "-o", "json", "-f", "-", input=json.dumps(deployment)
    )
    live = json.loads(answer.stdout)["spec"]["template"]["spec"]["containers"]
    returned = [container["resources"]["limits"]["memory"] for container in live]
    assert [[written, back] for (written, _), back in zip(table, returned, strict=True)] == table
