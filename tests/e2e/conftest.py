"""The cluster, the operator installed by its chart, the object store with models, and a namespace for each test."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import kind
from devcluster.target import Target, provider, select
from tests.e2e import installation, models
from tests.e2e.cluster import Kubectl, Namespace, Operator

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure(config: pytest.Config) -> None:
    """Where the cluster is kind's: point pytest-kind at the one that `make cluster` made, which outlives the run."""
    if provider() == "kind":
        chosen = select()
        config.option.cluster_name = kind.NAME
        config.option.keep_cluster = True
        config.option.kubeconfig = str(chosen.kubeconfig)
        config.option.kind_bin = str(chosen.paths.bin / "kind")
        config.option.kind_kubectl_bin = str(chosen.kubectl)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """The cluster to test on, already up (`make test-e2e` sees to that): kubeconfig, tools, ingress address."""
    if provider() == "kind":
        request.getfixturevalue("kind_cluster")
    return select()


@pytest.fixture(scope="session")
def images() -> dict:
    """The image references that `make images` wrote."""
    return json.loads((ROOT / ".out" / "images.json").read_text())


@pytest.fixture(scope="session")
def kubectl(target: Target) -> Kubectl:
    """Run kubectl against the cluster under test."""
    return Kubectl(target.kubectl, target.kubeconfig)


@pytest.fixture(scope="session")
def operator(target: Target, kubectl: Kubectl, images: dict, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The operator, installed or upgraded by the Helm chart to the images under test, and ready."""
    installation.operator(target, images, tmp_path_factory.mktemp("helm") / "values.yaml")
    running = Operator(kubectl)
    running.start()
    return running


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of models by name: the good ones first, then those broken each in its own way."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "iris": models.train("iris", folder / "iris"),
        "torch": models.train("torch", folder / "torch"),
        "onnx": models.train("onnx", folder / "onnx"),
        "script": models.train("script", folder / "script"),
        "unsteady": models.unsteady(folder / "unsteady"),
        "torch-export": models.exported(folder / "torch-export"),
        "xgboost": models.boosted("xgboost", folder / "xgboost"),
        "lightgbm": models.boosted("lightgbm", folder / "lightgbm"),
        "webpage": models.not_a_model(folder / "webpage"),
        "other-version": models.from_another_version(folder / "other-version"),
        "missing-library": models.needs_missing_library(folder / "missing-library"),
        "slow": models.slow(folder / "slow"),
        "hungry": models.hungry(folder / "hungry", mebibytes=1500),
    }


@pytest.fixture(scope="session")
def object_store(kubectl: Kubectl, images: dict, model_files: dict[str, Path]) -> str:
    """An S3 emulator in the cluster with every model at s3://models/<name>/; returns its address inside the cluster."""
    address = installation.object_store(kubectl, images)
    for name, folder in model_files.items():
        models.upload(kubectl, folder, f"s3://models/{name}/")
    return address


@pytest.fixture
def namespace(
    target: Target, kubectl: Kubectl, operator: Operator, object_store: str, tmp_path: Path
) -> Iterator[Namespace]:
    """A namespace for this test that enforces the `restricted` Pod Security profile; has the store's credentials."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    literals = [f"--from-literal={key}={value}" for key, value in installation.credentials(object_store).items()]
    kubectl("-n", name, "create", "secret", "generic", "model-store", *literals)
    yield Namespace(name, kubectl, target.ingress_address, tmp_path)
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def iris() -> dict:
    """The spec of an iris service with an Ingress: tests change what they need."""
    return {
        "model": {"uri": "s3://models/iris/", "framework": "sklearn", "credentials": {"secretName": "model-store"}},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }
