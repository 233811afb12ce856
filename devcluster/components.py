"""The command line of each daemon of the node."""

from __future__ import annotations

import os
from pathlib import Path

from devcluster import layout
from devcluster.paths import Paths
from devcluster.processes import Daemon
from devcluster.tools import location

API_RATE_FLAGS = ("--kube-api-qps=1000", "--kube-api-burst=2000")

START_ORDER = (
    "registry",
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
)


def registry(paths: Paths, config: Path) -> Daemon:
    """The OCI registry that images travel through."""
    return Daemon("registry", (location(paths, "registry"), "serve", config), env={"OTEL_TRACES_EXPORTER": "none"})


def containerd(paths: Paths) -> Daemon:
    """The container runtime. Its shim must come first in PATH: it looks for it there."""
    program = location(paths, "containerd")
    search = f"{program.parent}{os.pathsep}/usr/sbin:/usr/bin:/sbin:/bin{os.pathsep}{os.environ.get('PATH', '')}"
    return Daemon("containerd", (program, "--config", paths.etc / "containerd.toml"), env={"PATH": search})


def etcd(paths: Paths) -> Daemon:
    """The store. It does not wait for the disk: the cluster is thrown away anyway."""
    clients = f"http://{layout.LOOPBACK}:{layout.ETCD_PORT}"
    peers = f"http://{layout.LOOPBACK}:{layout.ETCD_PEER_PORT}"
    flags = (
        "--name=devcluster",
        f"--data-dir={paths.cluster / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=devcluster={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return Daemon("etcd", (location(paths, "etcd"), *flags))


def kube_apiserver(paths: Paths) -> Daemon:
    """The API server, on the bridge's address only, with an audit log."""
    pki = paths.pki
    flags = (
        f"--bind-address={layout.NODE_ADDRESS}",
        f"--advertise-address={layout.NODE_ADDRESS}",
        f"--secure-port={layout.API_PORT}",
        f"--etcd-servers=http://{layout.LOOPBACK}:{layout.ETCD_PORT}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        f"--service-cluster-ip-range={layout.SERVICE_CIDR}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        # With these, API servers behind this one, such as the metrics server, know who asks.
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--audit-policy-file={paths.etc / 'audit-policy.yaml'}",
        f"--audit-log-path={paths.audit_log}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=3",
        "--audit-log-mode=blocking",
        "--max-requests-inflight=1600",
        "--max-mutating-requests-inflight=800",
        "--shutdown-delay-duration=0s",
    )
    return Daemon("kube-apiserver", (location(paths, "kube-apiserver"), *flags))


def kube_controller_manager(paths: Paths) -> Daemon:
    """The controllers, with more workers than the default so that tests measure the operator and not these."""
    config = paths.etc / "controller-manager.kubeconfig"
    flags = (
        f"--bind-address={layout.LOOPBACK}",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        f"--root-ca-file={paths.pki / 'ca.crt'}",
        f"--service-account-private-key-file={paths.pki / 'service-accounts.key'}",
        f"--cluster-signing-cert-file={paths.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={paths.pki / 'ca.key'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--node-monitor-grace-period=40s",
        "--pvclaimbinder-sync-period=2s",
        "--concurrent-deployment-syncs=30",
        "--concurrent-replicaset-syncs=30",
        *API_RATE_FLAGS,
    )
    return Daemon("kube-controller-manager", (location(paths, "kube-controller-manager"), *flags))


def kube_scheduler(paths: Paths) -> Daemon:
    """The scheduler."""
    config = paths.etc / "scheduler.kubeconfig"
    flags = (
        f"--config={paths.etc / 'scheduler.yaml'}",
        f"--bind-address={layout.LOOPBACK}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
    )
    return Daemon("kube-scheduler", (location(paths, "kube-scheduler"), *flags))


def kube_proxy(paths: Paths) -> Daemon:
    """Services by nftables."""
    flags = (f"--config={paths.etc / 'kube-proxy.yaml'}", f"--hostname-override={layout.NODE_NAME}")
    return Daemon("kube-proxy", (location(paths, "kube-proxy"), *flags))


def kubelet(paths: Paths) -> Daemon:
    """The node."""
    flags = (
        f"--config={paths.etc / 'kubelet.yaml'}",
        f"--kubeconfig={paths.etc / 'kubelet.kubeconfig'}",
        f"--root-dir={paths.kubelet}",
        f"--cert-dir={paths.pki}",
        f"--hostname-override={layout.NODE_NAME}",
        f"--node-ip={layout.NODE_ADDRESS}",
    )
    return Daemon("kubelet", (location(paths, "kubelet"), *flags))
