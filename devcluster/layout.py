"""Addresses and names of the one-node cluster."""

from __future__ import annotations

from typing import Final

NODE_NAME: Final = "devcluster"
BRIDGE: Final = "cni0"
BRIDGE_ALIAS: Final = "scoring-operator devcluster"
"""Marks the bridge as ours, so that another network's cni0 is never taken or removed."""

NODE_ADDRESS: Final = "10.244.0.1"
"""The bridge's own address: pods and host reach the node there, and nothing outside the machine does."""

POD_CIDR: Final = "10.244.0.0/22"
"""A thousand pods: more than one node needs."""

SERVICE_CIDR: Final = "10.96.0.0/16"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
DNS_ADDRESS: Final = "10.96.0.10"
INGRESS_ADDRESS: Final = "10.96.0.80"

API_PORT: Final = 6443
API_URL: Final = f"https://{NODE_ADDRESS}:{API_PORT}"
ETCD_PORT: Final = 2379
ETCD_PEER_PORT: Final = 2380
REGISTRY_PORT: Final = 5000
"""The registry's first choice; see registry.py."""

LOOPBACK: Final = "127.0.0.1"
NFT_TABLE: Final = "scoring_devcluster"
CNI_NETWORK: Final = "devcluster"
MAX_PODS: Final = 500
