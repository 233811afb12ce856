"""Renders the configuration files of every component. Pure: values in, text out, except `write_all`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import yaml

from devcluster import layout, versions
from devcluster.paths import Paths

CNI_PLUGINS = "/usr/lib/cni"
"""Where the Debian package containernetworking-plugins puts them."""

PAUSE_IMAGE = f"registry.k8s.io/pause:{versions.PAUSE}"
API_RATE = {"qps": 1000, "burst": 2000}
"""Against the API, for controller manager and scheduler: their default of 20 a second would be what tests measure."""


def kubeconfig(paths: Paths, user: str) -> dict[str, Any]:
    """A self-contained kubeconfig for one of the clients in certificates.SUBJECTS."""
    files = {"ca": "ca.crt", "certificate": f"{user}.crt", "key": f"{user}.key"}
    data = {name: base64.b64encode((paths.pki / file).read_bytes()).decode() for name, file in files.items()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "devcluster",
        "clusters": [
            {"name": "devcluster", "cluster": {"server": layout.API_URL, "certificate-authority-data": data["ca"]}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": data["certificate"], "client-key-data": data["key"]},
            }
        ],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": user}}],
    }


def kubelet(paths: Paths) -> dict[str, Any]:
    """KubeletConfiguration: cgroup v1 or v2, no eviction for want of disk, everything below our own folders."""
    root = paths.kubelet
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(paths.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(paths.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(paths.pki / "kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [layout.DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(paths.etc / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{paths.containerd_socket}",
        "podLogsDir": str(paths.cluster / "pods"),
        "volumePluginDir": str(root / "plugins" / "volume"),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": layout.MAX_PODS,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        "registerNode": True,
        "serializeImagePulls": False,
        "maxParallelImagePulls": 2,
        "registryPullQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "30s",
    }


def kube_proxy(paths: Paths) -> dict[str, Any]:
    """KubeProxyConfiguration: nftables, and the machine's connection tracking limits left as they are."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": layout.NODE_ADDRESS,
        "healthzBindAddress": f"{layout.LOOPBACK}:10256",
        "metricsBindAddress": f"{layout.LOOPBACK}:10249",
        "clusterCIDR": layout.POD_CIDR,
        "clientConnection": {"kubeconfig": str(paths.etc / "proxy.kubeconfig")},
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "200ms"},
    }


def scheduler(paths: Paths) -> dict[str, Any]:
    """KubeSchedulerConfiguration without leader election."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(paths.etc / "scheduler.kubeconfig"), **API_RATE},
    }


def audit_policy() -> dict[str, Any]:
    """Every request once, when it is answered, without bodies: enough to count writes for each user agent."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
            {"level": "Metadata"},
        ],
    }


def bridge_network(paths: Paths) -> dict[str, Any]:
    """The pod network: a bridge. Without masquerading, since pods are to reach nothing outside the machine."""
    return {
        "cniVersion": "1.0.0",
        "name": layout.CNI_NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": layout.BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(paths.cluster / "addresses"),
                    "ranges": [[{"subnet": layout.POD_CIDR, "gateway": layout.NODE_ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def containerd(paths: Paths) -> str:
    """The containerd configuration (version 3); TOML."""
    return f"""\
version = 3
root = '{paths.containerd}'
state = '{paths.containerd_state}'
disabled_plugins = [
  'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.zfs',
  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.erofs', 'io.containerd.nri.v1.nri',
  'io.containerd.internal.v1.opt', 'io.containerd.tracing.processor.v1.otlp',
]

[grpc]
address = '{paths.containerd_socket}'

[plugins.'io.containerd.cri.v1.images']
discard_unpacked_layers = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '{paths.etc / "registries"}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{CNI_PLUGINS}']
conf_dir = '{paths.etc / "cni"}'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = 'runc'
SystemdCgroup = false
"""


def registry_mirror(port: int) -> str:
    """containerd's hosts.toml for the local registry: plain HTTP on the loopback."""
    address = f"http://{layout.LOOPBACK}:{port}"
    return f"server = '{address}'\n\n[host.'{address}']\ncapabilities = ['pull', 'resolve']\n"


def registry(paths: Paths, port: int) -> dict[str, Any]:
    """The local registry's configuration."""
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(paths.registry)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": True, "age": "24h", "interval": "24h", "dryrun": False}},
        },
        "http": {"addr": f"{layout.LOOPBACK}:{port}", "secret": "loopback-only"},
    }


def files(paths: Paths, registry_port: int) -> Mapping[str, str]:
    """Every file below `paths.etc`, by its path there."""
    users = ("admin", "controller-manager", "scheduler", "kubelet", "proxy")
    documents: dict[str, Any] = {f"{user}.kubeconfig": kubeconfig(paths, user) for user in users}
    documents |= {
        "kubelet.yaml": kubelet(paths),
        "kube-proxy.yaml": kube_proxy(paths),
        "scheduler.yaml": scheduler(paths),
        "audit-policy.yaml": audit_policy(),
    }
    rendered = {name: yaml.safe_dump(document, sort_keys=False) for name, document in documents.items()}
    rendered["cni/10-bridge.conflist"] = json.dumps(bridge_network(paths), indent=2)
    rendered["containerd.toml"] = containerd(paths)
    rendered[f"registries/{layout.LOOPBACK}:{registry_port}/hosts.toml"] = registry_mirror(registry_port)
    # Pods that use the node's DNS (dnsPolicy Default) find no server: nothing outside is to be resolved.
    rendered["resolv.conf"] = ""
    return rendered


def write_all(paths: Paths, registry_port: int) -> bool:
    """Write every file that differs, and the administrator's kubeconfig where users look for it.

    Returns whether a file changed. An equal file is not written again: kube-proxy ends when its file is touched.
    """
    wanted = {paths.etc / name: text for name, text in files(paths, registry_port).items()}
    wanted[paths.kubeconfig] = wanted[paths.etc / "admin.kubeconfig"]
    changed = False
    for file, text in wanted.items():
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(text)
            changed = True
    return changed
