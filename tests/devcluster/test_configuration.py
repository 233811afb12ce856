"""Rendered configuration: what must hold for isolation, for both cgroup versions and for the tests that read the log.

- everything that is written lies below the cache folder, and every file that one file names exists
- addresses agree between components; nothing listens on all interfaces
- the audit log has every write, with its user agent
"""

import ipaddress
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from devcluster import addons, certificates, components, configuration, layout, metrics
from devcluster.paths import Paths

PORT = 5001


@pytest.fixture
def rendered(paths: Paths) -> Paths:
    certificates.write_all(paths.pki)
    configuration.write_all(paths, PORT)
    return paths


@pytest.fixture
def commands(rendered: Paths) -> dict[str, list[str]]:
    for name in ("containerd", "etcd", *components.START_ORDER):
        rendered.bin.mkdir(parents=True, exist_ok=True)
        (rendered.bin / name).touch()
    functions = [getattr(components, name.replace("-", "_")) for name in components.START_ORDER if name != "registry"]
    return {
        daemon.name: [str(word) for word in daemon.argv] for daemon in (function(rendered) for function in functions)
    }


def test_every_input_file_named_on_a_command_line_exists(rendered: Paths, commands: dict[str, list[str]]) -> None:
    outputs = {str(rendered.audit_log), str(rendered.cluster / "etcd"), str(rendered.kubelet)}
    named = {
        found[1] for argv in commands.values() for word in argv if (found := re.search(rf"({rendered.cache}\S+)", word))
    }
    assert len(named) > 15
    assert [path for path in sorted(named - outputs) if not Path(path).exists()] == []


def test_nothing_listens_on_every_interface(commands: dict[str, list[str]], rendered: Paths) -> None:
    text = "\n".join(word for argv in commands.values() for word in argv)
    text += "".join(file.read_text() for file in rendered.etc.rglob("*") if file.is_file())
    assert "0.0.0.0:" not in text
    kubelet = yaml.safe_load((rendered.etc / "kubelet.yaml").read_text())
    assert kubelet["address"] == layout.NODE_ADDRESS
    assert f"--bind-address={layout.NODE_ADDRESS}" in commands["kube-apiserver"]
    assert configuration.registry(rendered, PORT)["http"]["addr"] == f"127.0.0.1:{PORT}"


def test_fixed_addresses_lie_in_their_ranges() -> None:
    pods, services = ipaddress.ip_network(layout.POD_CIDR), ipaddress.ip_network(layout.SERVICE_CIDR)
    assert ipaddress.ip_address(layout.NODE_ADDRESS) in pods
    assert not pods.overlaps(services)
    for address in (layout.API_SERVICE_ADDRESS, layout.DNS_ADDRESS, layout.INGRESS_ADDRESS):
        assert ipaddress.ip_address(address) in services
    assert pods.num_addresses > layout.MAX_PODS


def test_containerd_keeps_to_its_folders_and_finds_the_registry(rendered: Paths) -> None:
    config = tomllib.loads((rendered.etc / "containerd.toml").read_text())
    assert config["version"] == 3
    assert {config["root"], config["state"]} == {str(rendered.containerd), str(rendered.containerd_state)}
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["netns_mounts_under_state_dir"] is True
    registries = Path(config["plugins"]["io.containerd.cri.v1.images"]["registry"]["config_path"])
    hosts = tomllib.loads((registries / f"127.0.0.1:{PORT}" / "hosts.toml").read_text())
    assert hosts["server"] == f"http://127.0.0.1:{PORT}"


def test_the_kubelet_works_with_both_cgroup_versions(paths: Paths) -> None:
    config = configuration.kubelet(paths)
    assert config["cgroupDriver"] == "cgroupfs"
    assert config["failCgroupV1"] is False
    folders = [config[name] for name in ("podLogsDir", "volumePluginDir", "resolvConf")]
    assert all(folder.startswith(str(paths.cluster)) for folder in folders)


def test_the_audit_policy_records_writes_but_no_bodies() -> None:
    rules = configuration.audit_policy()["rules"]
    assert rules[-1] == {"level": "Metadata"}
    assert all(rule.keys() == {"level", "nonResourceURLs"} for rule in rules[:-1])


def test_kubeconfigs_carry_their_own_keys(rendered: Paths) -> None:
    config = yaml.safe_load(rendered.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == f"https://{layout.NODE_ADDRESS}:{layout.API_PORT}"
    assert "/" not in str(config["users"][0]["user"].keys())
    assert rendered.kubeconfig.stat().st_mode & 0o077 == 0


def test_a_file_is_written_only_when_it_differs(rendered: Paths) -> None:
    """kube-proxy watches its file, and ends when it is written to."""
    file = rendered.etc / "kube-proxy.yaml"
    before = file.stat()
    assert not configuration.write_all(rendered, PORT)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    file.write_text("mode: iptables\n")
    assert configuration.write_all(rendered, PORT)
    assert yaml.safe_load(file.read_text())["mode"] == "nftables"


def test_addon_manifests_are_complete(paths: Paths) -> None:
    rendered = addons.manifests(ingress_address="192.0.2.7", ingress_cluster_ip=layout.INGRESS_ADDRESS)
    documents = [document for text in rendered.values() for document in yaml.safe_load_all(text)]
    services = {one["metadata"]["name"]: one["spec"]["clusterIP"] for one in documents if one["kind"] == "Service"}
    assert services == {"kube-dns": layout.DNS_ADDRESS, "traefik": layout.INGRESS_ADDRESS}
    images = {
        container["image"]
        for one in documents
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert images <= {addons.COREDNS_IMAGE, addons.traefik.image_reference()}
    assert "--providers.kubernetesingress.ingressendpoint.ip=192.0.2.7" in rendered["traefik"]
    classes = {one["spec"]["controller"] for one in documents if one["kind"] == "IngressClass"}
    assert classes == {"traefik.io/ingress-controller"}


def test_the_metrics_server_gets_its_image_and_trusts_the_kubelet_by_its_certificate() -> None:
    documents = {one["kind"]: one for one in yaml.safe_load_all(metrics.manifest())}
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == metrics.IMAGE
    assert [flag for flag in container["args"] if "insecure" in flag] == []
    assert documents["APIService"]["spec"]["service"]["name"] == documents["Service"]["metadata"]["name"]
