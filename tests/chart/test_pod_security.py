"""The operator's pod passes the `restricted` Pod Security profile.

The checks are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted and, beyond
them, what the project asks of itself: a read-only root and no ambient credentials but the operator's own.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import Render

FULL = Path(__file__).parent / "full-values.yaml"
ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


@pytest.fixture(params=[{}, FULL], ids=["default", "full"])
def pod(request: pytest.FixtureRequest, render: Render) -> dict[str, Any]:
    spec: dict[str, Any] = render(request.param).one("Deployment")["spec"]["template"]["spec"]
    return spec


def test_the_pod_shares_nothing_of_its_node(pod: dict[str, Any]) -> None:
    assert not any(pod.get(each) for each in ("hostNetwork", "hostPID", "hostIPC"))
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= ALLOWED_VOLUMES
    assert not any("hostPort" in port for each in pod["containers"] for port in each["ports"])


def test_the_pod_is_nobody_special(pod: dict[str, Any]) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_its_containers_cannot_become_more(pod: dict[str, Any]) -> None:
    for container in pod["containers"] + pod.get("initContainers", []):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not context.get("privileged")


def test_it_can_be_scheduled_fairly(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
