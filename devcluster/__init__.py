"""A real one-node Kubernetes for demo and tests on a machine without a container engine.

`up` starts etcd, the Kubernetes control plane, kubelet, kube-proxy and containerd as plain processes, built from their
Go modules; `images` builds the project's images with buildah and keeps them in a registry on the loopback. Where Docker
or another cluster is there, `target` chooses that instead. See docs/devcluster.md.
"""
