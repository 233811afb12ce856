"""What has to be in a cluster before a ScoringService can: the operator, and an object store for models."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from devcluster.target import Target
from tests.e2e.cluster import Kubectl
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "scoring-system"
CHART = ROOT / "charts" / "scoring-operator"


def operator(target: Target, images: dict[str, Any], values: Path) -> None:
    """Install the operator by its chart, or upgrade it to these images; `values` is a file to write."""
    repository, tag = images["operator"].rsplit(":", 1)
    settings = {
        "image": {"repository": repository, "tag": tag},
        "runtimeImages": images["runtime"],
        "router": {"image": images["router"]},
    }
    values.write_text(yaml.safe_dump(settings))
    command = [str(target.helm), "upgrade", "--install", "scoring-operator", str(CHART)]
    command += ["--namespace", NAMESPACE, "--create-namespace", "--values", str(values), "--wait", "--timeout", "3m"]
    command += ["--force-conflicts"]  # test_refusals.py applies the CRD too
    environment = {**os.environ, "KUBECONFIG": str(target.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        describe = [str(target.kubectl), "-n", NAMESPACE, "describe", "pods"]
        pods = subprocess.run(describe, env=environment, capture_output=True, text=True, check=False).stdout
        raise AssertionError(f"helm failed:\n{done.stdout}{done.stderr}\n{pods}")


def object_store(kubectl: Kubectl, images: dict[str, Any]) -> str:
    """An S3 emulator in the cluster; returns its address inside the cluster."""
    deployment = (ROOT / "examples" / "object-store" / "object-store.yaml").read_text()
    kubectl("apply", "-f", "-", input=deployment.replace("OBJECT_STORE_IMAGE", images["object-store"]))
    kubectl("-n", "object-store", "rollout", "status", "deployment/object-store", f"--timeout={PATIENCE}s")
    return "http://object-store.object-store.svc:9000"


def credentials(address: str) -> dict[str, str]:
    """What the Secret of a model in that store has to hold."""
    return {
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }
