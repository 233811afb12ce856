"""Tools, registry and firewall, as far as they show without a cluster.

- a toolset's key changes with its version and go.mod; go.mod pins every module of Kubernetes to one release
- the registry moves to a free port when 5000 is taken, and stays there
- only daemons that name our state are taken for ours
- retries stop at success and pass the last error on
"""

import contextlib
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from devcluster import layout, network, registry, teardown, tools, versions
from devcluster.commands import Command, CommandError, run, with_retries
from devcluster.errors import DevclusterError
from devcluster.paths import Paths


def test_keys_differ_by_version_and_module_file(tmp_path: Path) -> None:
    kubernetes = tools.CLUSTER[0]
    copy = tools.Toolset("kubernetes", kubernetes.version, kubernetes.names, module=tmp_path)
    shutil.copytree(tools.KUBERNETES_MODULE, tmp_path, dirs_exist_ok=True)
    before = copy.key
    with (tmp_path / "go.mod").open("a") as file:
        file.write("\n")
    assert copy.key != before
    keys = [toolset.key for toolset in tools.CLUSTER]
    assert len(set(keys)) == len(keys)
    assert all(toolset.version in toolset.key for toolset in tools.CLUSTER)


def test_the_module_file_builds_one_release() -> None:
    text = (tools.KUBERNETES_MODULE / "go.mod").read_text()
    release = versions.KUBERNETES.removeprefix("v1")
    assert f"k8s.io/kubernetes {versions.KUBERNETES}" in text
    replaced = re.findall(r"^\s+(k8s\.io/\S+) => (\S+) (\S+)$", text, re.MULTILINE)
    assert len(replaced) == 33
    assert {(source == target, version) for source, target, version in replaced} == {(True, f"v0{release}")}
    programs = set(re.findall(r"k8s\.io/kubernetes/cmd/(\S+)", text))
    assert programs | {"etcd"} == set(tools.CLUSTER[0].names)


def test_the_other_programs_are_pinned_to_the_same_versions() -> None:
    text = (tools.PROGRAMS_MODULE / "go.mod").read_text()
    assert f"github.com/coredns/coredns {versions.COREDNS}" in text
    assert f"github.com/distribution/distribution/v3 {versions.REGISTRY}" in text
    assert f"helm.sh/helm/v4 {versions.HELM}" in text


def test_the_metrics_server_is_built_from_kubernetes_own_modules() -> None:
    """Else nearly all of what the two share would be compiled twice."""
    kubernetes = pinned(tools.KUBERNETES_MODULE / "go.mod")
    metrics_server = pinned(tools.METRICS_SERVER_MODULE / "go.mod")
    shared = kubernetes.keys() & metrics_server.keys()
    assert len(shared) > 100
    assert {name: metrics_server[name] for name in shared} == {name: kubernetes[name] for name in shared}
    text = (tools.METRICS_SERVER_MODULE / "go.mod").read_text()
    assert f"sigs.k8s.io/metrics-server {versions.METRICS_SERVER}" in text


def pinned(file: Path) -> dict[str, str]:
    """Module → the version that is built: what replaces it, else what is required."""
    text = file.read_text()
    required = dict(re.findall(r"^\s+(\S+) (v\S+)(?: // indirect)?$", text, re.MULTILINE))
    return required | dict(re.findall(r"^\s+(\S+) => \S+ (v\S+)$", text, re.MULTILINE))


def test_dns_has_the_plugins_of_its_configuration() -> None:
    source = (tools.PROGRAMS_MODULE / "coredns" / "main.go").read_text()
    manifest = (Path(tools.__file__).parent / "manifests" / "coredns.yaml").read_text()
    corefile = manifest.partition("Corefile: |")[2].partition("---")[0]
    used = set(re.findall(r"^        (\w+)", corefile, re.MULTILINE))
    assert used == set(re.findall(r'coredns/plugin/(\w+)"', source))


def test_links_follow_the_version(paths: Paths) -> None:
    for version in ("one", "two"):
        (paths.tools / version).mkdir(parents=True)
        (paths.tools / version / "tool").write_text(version)
        tools._link(paths.bin, paths.tools / version)
        assert tools.location(paths, "tool") == paths.tools / version / "tool"


def test_a_taken_port_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not registry._free(server.getsockname()[1])
    assert registry._free(registry._any_free_port())


def test_the_chosen_port_is_remembered(paths: Paths) -> None:
    assert registry.host(paths) == "127.0.0.1:5000"
    paths.registry.mkdir(parents=True)
    (paths.registry / "port.json").write_text("43210")
    assert registry.host(paths) == "127.0.0.1:43210"


def test_a_registry_that_is_down_holds_nothing(paths: Paths) -> None:
    paths.registry.mkdir(parents=True)
    (paths.registry / "port.json").write_text(str(registry._any_free_port()))
    assert not registry.holds(paths, f"{registry.host(paths)}/thing:1")


def test_the_firewall_rejects_what_leaves_the_bridge() -> None:
    assert f'iifname "{layout.BRIDGE}" oifname != "{layout.BRIDGE}"' in network.FIREWALL
    assert "reject" in network.FIREWALL


def test_retries_end_with_success() -> None:
    calls = []

    def fails_twice() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise CommandError(Command(["x"]), 1, "no route")

    with_retries(fails_twice, pause=0)
    assert len(calls) == 3


def test_retries_pass_the_last_error_on() -> None:
    def fails() -> None:
        raise CommandError(Command(["fetch", "it"]), 7, "line\nno route")

    with pytest.raises(CommandError, match=r"`fetch it` failed with exit status 7:\nline\nno route"):
        with_retries(fails, tries=2, pause=0)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(DevclusterError, match="`no-such-program` is not installed"):
        run(Command(["no-such-program"]))


def test_a_slow_program_is_stopped() -> None:
    with pytest.raises(DevclusterError, match="did not end within"):
        run(Command(["sleep", "30"]), timeout=0.1)


def test_only_daemons_with_our_state_are_ours(paths: Paths) -> None:
    """Other programs may use the same tools, such as a test that starts an API server of its own."""
    program = paths.tools / "kubernetes-v1" / "etcd"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/sh", program)
    with contextlib.ExitStack() as running:
        pids = {}
        for state in (paths.cluster, Path("/elsewhere")):
            waiting = [str(program), "-c", "read line; exit 0", "etcd", f"--data-dir={state}/etcd"]
            process = running.enter_context(subprocess.Popen(waiting, stdin=subprocess.PIPE))
            running.callback(process.kill)
            pids[state] = process.pid
        assert [one.pid for one in teardown.daemons_of(paths)] == [pids[paths.cluster]]
        assert teardown.daemons_of(paths, ["kubelet"]) == []
