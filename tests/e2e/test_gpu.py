"""A service that asks for a GPU, on a node without one and on a node that declares one.

The node of the test cluster has no GPU: its capacity is patched in, which is all that scheduling looks at. The model is
an sklearn one, so the pod runs on the CPU; what is tested is placement, limits and the way of updating.
"""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Kubectl, Namespace, eventually
from tests.e2e.test_lifecycle import settled

pytestmark = pytest.mark.e2e


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """The name of the schedulable node; any GPU that the test gave it is taken away afterwards."""
    name = json.loads(kubectl("get", "nodes", "-o", "json").stdout)["items"][-1]["metadata"]["name"]
    yield name
    patch = '{"status": {"capacity": {"nvidia.com/gpu": null}, "allocatable": {"nvidia.com/gpu": null}}}'
    kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)


def give_gpu(kubectl: Kubectl, node: str) -> None:
    """Let the node declare one GPU."""
    patch = '{"status": {"capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"}}}'
    kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)


def test_a_gpu_is_waited_for_used_and_updated_in_place(
    namespace: Namespace, kubectl: Kubectl, iris: dict, node: str
) -> None:
    spec = {**iris, "gpu": 1}
    namespace.apply("gpu", spec)
    service = namespace.wait_reason("gpu", "Unschedulable")
    assert "nvidia.com/gpu" in service["status"]["message"]
    assert namespace.get("pods")["items"][0]["status"]["phase"] == "Pending"

    give_gpu(kubectl, node)
    namespace.wait_ready("gpu")
    (pod,) = namespace.get("pods")["items"]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"

    # With one GPU a surging update would wait for ever: the old pod goes first.
    namespace.apply(
        "gpu", {**spec, "resources": {"requests": {"cpu": "70m", "memory": "128Mi"}, "limits": {"memory": "520Mi"}}}
    )
    settled(namespace, "gpu")
    eventually(
        lambda: [p["metadata"]["name"] for p in namespace.get("pods")["items"]] != [pod["metadata"]["name"]],
        what="the pod to be replaced",
    )
