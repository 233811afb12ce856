"""Where models come from: a PersistentVolumeClaim and an HTTP server, besides the object store of the other tests."""

import hashlib
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.e2e.cluster import Namespace
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e


def pod(namespace: Namespace, images: dict, name: str, command: list[str], claim: str | None = None) -> None:
    """A restricted pod of the runtime image running `command`, with the claim or an empty folder at /models."""
    volume = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    container = {
        "name": "main",
        "image": images["runtime"]["sklearn"],
        "command": command,
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "models", **volume}],
    }
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
    namespace.run("apply", "-f", "-", input=yaml.safe_dump(document))
    namespace.run("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={PATIENCE}s")


def copy_into(namespace: Namespace, pod_name: str, archive: Path) -> None:
    """Unpack a tar archive into the pod's /models."""
    script = (
        "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|*').extractall('/models', filter='data')"
    )
    namespace.run("exec", "-i", pod_name, "--", "python", "-c", script, input=archive.read_bytes())


@pytest.fixture
def iris_archive(model_files: dict[str, Path], tmp_path: Path) -> Path:
    """The iris model as a tar.gz."""
    archive = tmp_path / "iris.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(model_files["iris"].iterdir()):
            tar.add(file, arcname=file.name)
    return archive


def test_a_model_on_a_claim(namespace: Namespace, iris: dict, images: dict, iris_archive: Path) -> None:
    volume = f"models-{namespace.name}"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    documents = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": f"/tmp/scoring-operator-{volume}", "type": "DirectoryOrCreate"},
                "claimRef": {"namespace": namespace.name, "name": "models"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": namespace.name},
            "spec": {**claim, "volumeName": volume},
        },
    ]
    namespace.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents))
    try:
        prepare_host_path(namespace, volume)
        pod(namespace, images, "writer", ["python", "-c", "import time; time.sleep(600)"], claim="models")
        copy_into(namespace, "writer", iris_archive)
        namespace.deploy("claimed", {**iris, "model": {"uri": "pvc://models/", "framework": "sklearn"}})
    finally:
        namespace.kubectl("delete", "persistentvolume", volume, "--wait=false")


def prepare_host_path(namespace: Namespace, volume: str) -> None:
    """A hostPath ignores fsGroup, so a root pod outside the restricted namespace opens the folder to everyone."""
    path = f"/tmp/scoring-operator-{volume}"
    mount = {"name": "host", "mountPath": "/host"}
    container = {
        "name": "chmod",
        "image": yaml.safe_load(namespace.run("get", "pods", "-n", "object-store", "-o", "yaml").stdout)["items"][0][
            "spec"
        ]["containers"][0]["image"],
        "command": ["chmod", "0777", "/host"],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [mount],
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "host", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}],
    }
    name = f"chmod-{namespace.name}"
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    namespace.kubectl("apply", "-f", "-", input=yaml.safe_dump(document))
    done = ["wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", f"--timeout={PATIENCE}s"]
    namespace.kubectl("-n", "default", *done)
    namespace.kubectl("-n", "default", "delete", "pod", name, "--wait=false")


def test_a_model_archive_on_an_http_server(namespace: Namespace, iris: dict, images: dict, iris_archive: Path) -> None:
    pod(namespace, images, "web", ["python", "-m", "http.server", "8000", "--directory", "/models"])
    outer = iris_archive.with_name("outer.tar")
    subprocess.run(["tar", "-C", str(iris_archive.parent), "-cf", str(outer), iris_archive.name], check=True)
    copy_into(namespace, "web", outer)
    namespace.run("expose", "pod", "web", "--port=8000")
    model = {
        "uri": f"http://web.{namespace.name}.svc:8000/iris.tar.gz",
        "framework": "sklearn",
        "sha256": hashlib.sha256(iris_archive.read_bytes()).hexdigest(),
    }
    namespace.deploy("web-model", {**iris, "model": model})
