"""The embedded cluster itself: up, what pods may and may not do, recovery, and what `down` leaves (nothing).

It takes the machine's cluster down and brings it up again at the end, so it is not part of the ordinary suite.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from devcluster import addons, layout, network, processes, registry, target, teardown
from devcluster.cluster import DAEMONS, process_table
from devcluster.paths import SOURCE_TREE, Paths
from devcluster.recipes import RECIPES
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(target.provider() != "devcluster", reason="another cluster is chosen by DEVCLUSTER_PROVIDER"),
]

SYSCTLS = (*network.WANTED_SYSCTLS, *network.CHANGED_BY_KUBELET)
FOLDERS_OF_OTHERS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers")

PROBE = r"""
import json, os, socket, time, urllib.request
def attempt(host, port):
    start = time.monotonic()
    try:
        socket.create_connection((host, port), 4).close()
    except OSError as error:
        return [type(error).__name__, time.monotonic() - start]
    return ["connected", time.monotonic() - start]
start, busy = time.monotonic(), time.process_time()
while time.monotonic() - start < 2:
    pass
print(json.dumps({
    "cpu": (time.process_time() - busy) / (time.monotonic() - start),
    "self": urllib.request.urlopen("http://web.lifecycle.svc.cluster.local", timeout=5).status,
    "api": attempt("kubernetes.default.svc", 443)[0],
    "outside": attempt("192.0.2.99", 443),
    "unknown": attempt("outside.example.com", 443),
}))
"""


def devcluster(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "devcluster", *words], cwd=SOURCE_TREE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def machine(paths: Paths) -> dict[str, object]:
    """What a cluster could leave behind."""
    links = json.loads(output("ip", "-json", "link"))
    return {
        "processes": [processes.executable(one.pid) for one in teardown.daemons_of(paths)],
        "mounts": sorted(
            line for line in Path("/proc/self/mounts").read_text().splitlines() if str(paths.cache) in line
        ),
        "links": sorted(link["ifname"] for link in links),
        "routes": sorted(output("ip", "-oneline", "route", "show", "table", "all").splitlines()),
        "rules": re.sub(r"counter packets \d+ bytes \d+", "counter", output("nft", "list", "ruleset")),
        "namespaces": output("ip", "netns", "list"),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/kubepods")),
        "sysctls": {name: Path("/proc/sys", name.replace(".", "/")).read_text().strip() for name in SYSCTLS},
        "folders": [folder for folder in FOLDERS_OF_OTHERS if Path(folder).exists()],
        "state": paths.cluster.exists(),
    }


@pytest.fixture(scope="module")
def paths() -> Paths:
    return Paths.from_environment()


@pytest.fixture(scope="module")
def untouched(paths: Paths) -> Iterator[dict[str, object]]:
    """The machine without a cluster. One that was up is brought up again after the tests, with warm images."""
    was_up = process_table(paths).living("kube-apiserver") is not None
    devcluster("down")
    yield machine(paths)
    devcluster("up" if was_up else "down")


@pytest.fixture
def image(paths: Paths, untouched: dict[str, object]) -> str:
    devcluster("images", "sklearn")
    return RECIPES["sklearn"].reference(SOURCE_TREE, registry.host(paths))


def kubectl(paths: Paths, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        [str(paths.bin / "kubectl"), "--kubeconfig", str(paths.kubeconfig), *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pod(name: str, image: str, command: list[str], limits: dict[str, str]) -> dict:
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": command,
                "resources": {"limits": limits},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    metadata = {"name": name, "namespace": "lifecycle", "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def run_pods(paths: Paths, image: str) -> None:
    """A web server behind a Service, and a pod that needs more memory than its limit; in a restricted namespace."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lifecycle", "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "lifecycle"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        pod("web", image, ["python", "-m", "http.server", "8080"], {"cpu": "250m", "memory": "64Mi"}),
        pod("greedy", image, ["python", "-c", "bytearray(200_000_000)"], {"memory": "64Mi"}),
    ]
    kubectl(paths, "apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    kubectl(paths, "-n", "lifecycle", "wait", "--for=condition=Ready", "pod/web", "--timeout=120s")


def test_up_and_what_pods_may_do(paths: Paths, untouched: dict[str, object], image: str) -> None:
    devcluster("up")
    assert addons.dns_answers()
    assert addons.ingress_answers()
    run_pods(paths, image)
    for _ in range(100):  # The Service's rule follows the pod's readiness within a moment.
        if subprocess.run(["curl", "-sf", "-o", "/dev/null", _cluster_ip(paths)], check=False).returncode == 0:
            break
        time.sleep(0.1)
    seen = json.loads(kubectl(paths, "-n", "lifecycle", "exec", "-i", "web", "--", "python", "-", stdin=PROBE))
    assert seen["cpu"] == pytest.approx(0.25, abs=0.1)
    assert (seen["self"], seen["api"]) == (200, "connected")
    assert (seen["outside"][0], seen["unknown"][0]) == ("OSError", "gaierror")
    assert seen["outside"][1] < 1
    assert seen["unknown"][1] < 1
    kubectl(
        paths,
        *("-n", "lifecycle", "wait", "pod/greedy", "--timeout=60s"),
        "--for=jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled",
    )
    assert "GET / HTTP/1.1" in kubectl(paths, "-n", "lifecycle", "logs", "web")
    agents = {json.loads(line).get("userAgent", "") for line in paths.audit_log.read_text().splitlines()}
    assert any(agent.startswith("kubectl/") for agent in agents)


def _cluster_ip(paths: Paths) -> str:
    return kubectl(paths, "-n", "lifecycle", "get", "service", "web", "-o", "jsonpath=http://{.spec.clusterIP}/")


def test_a_second_up_changes_nothing_and_is_quick(paths: Paths, untouched: dict[str, object]) -> None:
    table = process_table(paths)
    before = {name: table.living(name) for name in DAEMONS}
    start = time.monotonic()
    devcluster("up")
    assert time.monotonic() - start < 20
    assert {name: table.living(name) for name in DAEMONS} == before
    assert None not in before.values()
    time.sleep(2)  # Long enough for kube-proxy to end if its file had been written, which it watches.
    assert {name: table.living(name) for name in DAEMONS} == before


def test_up_starts_a_daemon_that_died(paths: Paths, untouched: dict[str, object], image: str) -> None:
    table = process_table(paths)
    found = table.living("kube-controller-manager")
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    devcluster("up")
    assert table.living("kube-controller-manager") not in (None, found)
    assert kubectl(paths, "-n", "lifecycle", "get", "pod", "web", "-o", "jsonpath={.status.phase}") == "Running"


def test_up_recovers_when_only_state_mounts_and_rules_are_left(
    paths: Paths, untouched: dict[str, object], image: str
) -> None:
    """As after a machine that was frozen and came back without its processes."""
    _kill_everything(paths)
    left = machine(paths)
    assert left["mounts"]
    assert layout.BRIDGE in left["links"]  # type: ignore[operator]
    devcluster("up")
    run_pods(paths, image)
    devcluster("status")


def test_down_leaves_nothing_but_caches(paths: Paths, untouched: dict[str, object]) -> None:
    devcluster("down")
    assert machine(paths) == untouched
    assert paths.containerd.exists()
    devcluster("down")


@pytest.mark.parametrize("damage", ["containerd killed", "everything killed", "process ids lost", "configuration lost"])
def test_down_of_a_half_dead_cluster_leaves_nothing(
    paths: Paths, untouched: dict[str, object], image: str, damage: str
) -> None:
    devcluster("up")
    run_pods(paths, image)
    table = process_table(paths)
    if damage == "containerd killed":
        found = table.living("containerd")
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
    elif damage == "everything killed":
        _kill_everything(paths)
    elif damage == "process ids lost":
        for file in paths.processes.iterdir():
            file.unlink()
    else:
        for file in paths.etc.glob("*.*"):
            file.unlink()
    devcluster("down")
    assert machine(paths) == untouched


def _kill_everything(paths: Paths) -> None:
    """SIGKILL for the daemons, the shims and every process in a pod; all of them the cluster's own."""
    victims = [one.pid for one in teardown.daemons_of(paths)]
    victims += [
        int(pid)
        for root in Path("/sys/fs/cgroup").glob("**/kubepods")
        for file in root.rglob("cgroup.procs")
        for pid in file.read_text().split()
    ]
    for pid in set(victims):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    until(lambda: not any(processes.identity(pid) for pid in set(victims)))
