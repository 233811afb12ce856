"""The pod bridge, its routes, the firewall table and the kernel settings; and taking all of it away again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from devcluster import layout
from devcluster.commands import Command, run, succeeds
from devcluster.errors import DevclusterError
from devcluster.paths import Paths

WANTED_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    # A Service's answer must pass the NAT table even when both pods hang on the same bridge.
    "net.bridge.bridge-nf-call-iptables": "1",
}
CHANGED_BY_KUBELET = (
    "kernel.panic",
    "kernel.panic_on_oops",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)
"""The kubelet sets these (kubernetes/pkg/kubelet/cm, setupKernelTunables); `down` puts them back."""

TABLES_OF_KUBE_PROXY = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))

FIREWALL = f"""
table inet {layout.NFT_TABLE} {{
  chain forward {{
    type filter hook forward priority 10; policy accept;
    iifname "{layout.BRIDGE}" oifname != "{layout.BRIDGE}" counter reject with icmpx admin-prohibited
    iifname != "{layout.BRIDGE}" oifname "{layout.BRIDGE}" ct state new counter drop
  }}
}}
"""
"""Pods reach pods and the node, nothing else; and nothing outside the machine reaches them."""


def set_up(paths: Paths) -> None:
    """Make the bridge, the service route, the firewall and the kernel settings; whatever is there already is kept."""
    _remember_sysctls(paths)
    if not _bridge_exists():
        _ip("link", "add", layout.BRIDGE, "type", "bridge")
        _ip("link", "set", layout.BRIDGE, "alias", layout.BRIDGE_ALIAS)
    prefix = layout.POD_CIDR.rpartition("/")[2]
    _ip("address", "replace", f"{layout.NODE_ADDRESS}/{prefix}", "dev", layout.BRIDGE)
    _ip("link", "set", layout.BRIDGE, "up")
    # A packet to a Service whose rule is missing dies on the bridge, and not at the machine's default gateway.
    _ip("route", "replace", layout.SERVICE_CIDR, "dev", layout.BRIDGE)
    for name, value in WANTED_SYSCTLS.items():
        _write_sysctl(name, value)
    _write_sysctl(f"net.ipv4.conf.{layout.BRIDGE}.send_redirects", "0")
    if not succeeds(Command(["nft", "list", "table", "inet", layout.NFT_TABLE])):
        run(Command(["nft", "-f", "-"], stdin=FIREWALL))


def is_set_up() -> bool:
    """Whether bridge and firewall are there; the routes go with the bridge."""
    return _bridge_exists() and succeeds(Command(["nft", "list", "table", "inet", layout.NFT_TABLE]))


def tear_down(paths: Paths) -> None:
    """Remove the bridge with routes and pod interfaces, our tables and kube-proxy's; restore kernel settings."""
    for interface in _pod_interfaces():
        succeeds(Command(["ip", "link", "delete", interface]))
    if Path(f"/sys/class/net/{layout.BRIDGE}").exists() and _bridge_exists():
        _ip("link", "delete", layout.BRIDGE)
    for family, table in (("inet", layout.NFT_TABLE), *TABLES_OF_KUBE_PROXY):
        if succeeds(Command(["nft", "list", "table", family, table])):
            run(Command(["nft", "delete", "table", family, table]))
    for name, value in _remembered_sysctls(paths).items():
        _write_sysctl(name, value)
    for result in Path("/var/lib/cni/results").glob(f"{layout.CNI_NETWORK}-*"):
        result.unlink(missing_ok=True)
    for folder in (Path("/var/lib/cni/results"), Path("/var/lib/cni/cache"), Path("/var/lib/cni")):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _ip(*words: str) -> None:
    run(Command(["ip", *words]))


def _bridge_exists() -> bool:
    folder = Path("/sys/class/net") / layout.BRIDGE
    if not folder.exists():
        return False
    if (folder / "ifalias").read_text().strip() != layout.BRIDGE_ALIAS:
        raise DevclusterError(
            f"another pod network owns the interface {layout.BRIDGE}; remove it (ip link delete {layout.BRIDGE}) "
            "or use that cluster with DEVCLUSTER_PROVIDER=existing"
        )
    return True


def _pod_interfaces() -> list[str]:
    """The host's ends of pod interfaces: what is plugged into our bridge."""
    ports = Path("/sys/class/net") / layout.BRIDGE / "brif"
    return [port.name for port in ports.iterdir()] if ports.is_dir() else []


def _sysctl_file(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _write_sysctl(name: str, value: str) -> None:
    file = _sysctl_file(name)
    if not file.exists() and name.startswith("net.bridge."):
        succeeds(Command(["modprobe", "br_netfilter"]))
    if not file.exists():
        raise DevclusterError(f"the kernel has no setting {name}; is the module br_netfilter missing?")
    if file.read_text().strip() != value:
        file.write_text(value)


def _remember_sysctls(paths: Paths) -> None:
    """Keep the values found first; a second `up` must not take ours for the machine's."""
    record = paths.cluster / "sysctls.json"
    if record.exists():
        return
    names = [name for name in (*WANTED_SYSCTLS, *CHANGED_BY_KUBELET) if _sysctl_file(name).exists()]
    record.write_text(json.dumps({name: _sysctl_file(name).read_text().strip() for name in names}))


def _remembered_sysctls(paths: Paths) -> Mapping[str, str]:
    record = paths.cluster / "sysctls.json"
    try:
        values: Mapping[str, str] = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return values
