"""Many services at once: how long the operator needs, beside the same objects applied without it.

    make bench-operator [BENCH_FLAGS="--services 100"]

Both sides run in the same run on the same cluster. Every service has 0 replicas, so no pod is started, and what is
measured is the control plane: the operator, the API server and the Deployment controller.

services  N ScoringServices are applied by one `kubectl apply`; done when every one has its conditions.
edit      all of them get another memory limit; done when every status speaks of the new generation.
bare      the very Deployments, Services, Ingresses and ServiceAccounts that the operator made (found by their labels,
          owner and status taken off) are applied by one `kubectl apply` in another namespace; done when every
          Deployment has been observed by its controller.

The operator's CPU seconds and memory are read from its own metrics. The table goes to
docs/benchmarks/operator-scale.md.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.apply_to_answer import by_hand
from devcluster.target import Target, select

ROOT = Path(__file__).resolve().parents[1]
SERVICES, BARE = "bench-services", "bench-bare"
KINDS = "serviceaccounts,deployments,services,ingresses"
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Cluster:
    """kubectl on the cluster under measurement."""

    target: Target

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl; its standard output. Ends the benchmark with kubectl's words when it fails."""
        command = [str(self.target.kubectl), f"--kubeconfig={self.target.kubeconfig}", *args]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
        if done.returncode != 0:
            sys.exit(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def items(self, namespace: str, kinds: str) -> list[dict[str, Any]]:
        """All objects of these kinds in the namespace."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("-n", namespace, "get", kinds, "-o", "json"))["items"]
        return found

    def timed_apply(self, namespace: str, documents: list[dict[str, Any]], done: Callable[[], bool]) -> float:
        """Seconds from before `kubectl apply` until `done`, which is asked twice a second."""
        text = yaml.safe_dump_all(documents)
        start = time.perf_counter()
        self.kubectl("-n", namespace, "apply", "--server-side", "-f", "-", stdin=text)
        while not done():
            if time.perf_counter() - start > TIMEOUT_SECONDS:
                sys.exit(f"not done within {TIMEOUT_SECONDS} s")
            time.sleep(0.5)
        return time.perf_counter() - start

    def operator_process(self) -> dict[str, float]:
        """CPU seconds and resident bytes of the operator's process, from its metrics."""
        selector = ["-l", "app.kubernetes.io/name=scoring-operator", "-o", "jsonpath={.items[0].metadata.name}"]
        pod = self.kubectl("-n", "scoring-system", "get", "pods", *selector)
        text = self.kubectl("get", "--raw", f"/api/v1/namespaces/scoring-system/pods/{pod}:8081/proxy/metrics")
        return {name: float(value) for name, value in re.findall(r"^(process_\w+) (\S+)$", text, re.MULTILINE)}


def service(number: int, memory: str) -> dict[str, Any]:
    """One ScoringService without pods."""
    return {
        "apiVersion": "scoring.dev/v1alpha1",
        "kind": "ScoringService",
        "metadata": {"name": f"bench-{number}"},
        "spec": {
            "model": {"uri": "s3://models/iris/1/", "framework": "sklearn"},
            "replicas": 0,
            "auth": {"type": "None"},
            "resources": {"limits": {"memory": memory}},
            "ingress": {"className": "traefik", "host": f"bench-{number}.example.com"},
        },
    }


def measure(cluster: Cluster, count: int) -> dict[str, dict[str, float]]:
    """Run the three sides; seconds and CPU seconds of each."""
    for namespace in (SERVICES, BARE):
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait")
        cluster.kubectl("create", "namespace", namespace)

    def observed() -> bool:
        found = cluster.items(SERVICES, "scoringservices")
        settled = [s for s in found if s.get("status", {}).get("observedGeneration") == s["metadata"]["generation"]]
        return len(settled) == count and all(s["status"].get("conditions") for s in settled)

    figures = {}
    for side, memory in (("services", "256Mi"), ("edit", "260Mi")):
        before = cluster.operator_process()["process_cpu_seconds_total"]
        documents = [service(number, memory) for number in range(count)]
        seconds = cluster.timed_apply(SERVICES, documents, observed)
        after = cluster.operator_process()
        cpu = after["process_cpu_seconds_total"] - before
        figures[side] = {"seconds": seconds, "cpu": cpu, "memory": after["process_resident_memory_bytes"] / 2**20}

    children = [by_hand(child) for child in cluster.items(SERVICES, KINDS) if "ownerReferences" in child["metadata"]]
    for child in children:
        child["metadata"]["namespace"] = BARE

    def deployed() -> bool:
        found = cluster.items(BARE, "deployments")
        return len(found) == count and all(d.get("status", {}).get("observedGeneration") for d in found)

    figures["bare"] = {"seconds": cluster.timed_apply(BARE, children, deployed)}
    for namespace in (SERVICES, BARE):
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    return figures


def table(count: int, figures: dict[str, dict[str, float]]) -> list[str]:
    """The report."""
    bare = figures["bare"]["seconds"]
    lines = [
        "# The operator at scale",
        "",
        f"{count} services without pods on one node, one run; `make bench-operator` measures anew.",
        "",
        "| side | seconds | times bare | operator's CPU, ms a service | operator's memory, MiB |",
        "|---|---|---|---|---|",
        f"| bare Deployments, Services, Ingresses, ServiceAccounts | {bare:.1f} | 1 | | |",
    ]
    for side, name in (("services", "create"), ("edit", "edit of all")):
        one = figures[side]
        milliseconds = 1000 * one["cpu"] / count
        ratio = one["seconds"] / bare
        lines.append(f"| {name} | {one['seconds']:.1f} | {ratio:.2f} | {milliseconds:.0f} | {one['memory']:.0f} |")
    return lines


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=100)
    count = parser.parse_args().services
    lines = table(count, measure(Cluster(select()), count))
    report = ROOT / "docs" / "benchmarks" / "operator-scale.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
