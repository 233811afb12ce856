"""From `kubectl apply` to the first scored answer over HTTPS, and how much of it a bare Deployment of the image needs.

Both sides run in turn, in the same run, on the same cluster, with warm images:

service   `kubectl apply` of one ScoringService; the operator makes everything.
bare      `kubectl apply` of the very Deployment, Service, Ingress and Secrets that the operator made for the first
          one, its owner and status taken off: what the cluster needs by itself.

The clock starts before `kubectl apply` and stops at the first 200 from the model over verified HTTPS, asked for every
20 ms. `make bench` runs the demo first, whose operator, model and credentials are used; the table goes to
docs/benchmarks/apply-to-answer.md.
"""

import argparse
import base64
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from devcluster.target import select
from tests.e2e.client import IngressClient

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "bench"
HOST = "bench.example.com"
FLOWERS = [[5.1, 3.5, 1.4, 0.2]]
KINDS = "serviceaccounts,secrets,deployments,services,ingresses,middlewares.traefik.io"
SERVICE = {
    "apiVersion": "scoring.dev/v1alpha1",
    "kind": "ScoringService",
    "metadata": {"name": "bench", "namespace": NAMESPACE},
    "spec": {
        "model": {"uri": "s3://models/iris/1/", "framework": "sklearn", "credentials": {"secretName": "model-store"}},
        "auth": {"type": "None"},
        "ingress": {"className": "traefik", "host": HOST, "tls": {"selfSigned": True}},
    },
}


class Bench:
    """The cluster under measurement and the two ways to deploy on it."""

    def __init__(self) -> None:
        self.target = select()
        self.ca = ROOT / ".out" / "bench-ca.crt"
        if NAMESPACE not in self.kubectl("get", "namespaces", "-o", "name"):
            self.kubectl("create", "namespace", NAMESPACE)
        credentials = self.kubectl("-n", "demo", "get", "secret", "model-store", "-o", "json")
        data = json.loads(credentials)["data"]
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "model-store"}, "data": data}
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(secret))

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl; its standard output."""
        command = [str(self.target.kubectl), f"--kubeconfig={self.target.kubeconfig}", "-n", NAMESPACE, *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode != 0:
            sys.exit(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def first_answer(self, documents: list[dict]) -> float:
        """Seconds from before `kubectl apply` of these documents to the first scored answer."""
        client = IngressClient(self.target.ingress_address, HOST, str(self.ca), timeout_seconds=5)
        text = yaml.safe_dump_all(documents)
        start = time.perf_counter()
        self.kubectl("apply", "-f", "-", stdin=text)
        while not answered(client):
            if time.perf_counter() - start > 120:
                sys.exit("no answer within 120 s")
            time.sleep(0.02)
        return time.perf_counter() - start

    def as_service(self) -> float:
        """Deploy as a ScoringService, measure, delete."""
        seconds = self.first_answer([SERVICE])
        self.remove("scoringservice/bench")
        return seconds

    def as_bare(self, children: list[dict]) -> float:
        """Deploy the bare objects, measure, delete."""
        seconds = self.first_answer(children)
        names = [f"{child['kind'].lower()}/{child['metadata']['name']}" for child in children]
        self.remove(*names)
        return seconds

    def remove(self, *names: str) -> None:
        """Delete and wait until no pod of the service is left."""
        self.kubectl("delete", *names, "--ignore-not-found")
        self.wait(lambda: self.kubectl("get", f"pods,{KINDS}", "-l", "scoring.dev/service=bench", "-o", "name") == "")

    def wait(self, done: Callable[[], bool]) -> None:
        """Poll until done."""
        for _ in range(480):
            if done():
                return
            time.sleep(0.25)
        sys.exit("the objects of the last round did not go away")

    def children(self) -> list[dict]:
        """What the operator makes of SERVICE, as a user would write it by hand; leaves the CA in a file."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(SERVICE))
        self.kubectl("wait", "--for=condition=Ready", "scoringservice/bench", "--timeout=120s")
        listed = json.loads(self.kubectl("get", KINDS, "-l", "scoring.dev/service=bench", "-o", "json"))
        ca = self.kubectl("get", "secret", "bench-tls", "-o", "jsonpath={.data.ca\\.crt}")
        self.ca.write_bytes(base64.b64decode(ca))
        bare = [by_hand(child) for child in listed["items"]]
        self.remove("scoringservice/bench")
        return bare


def answered(client: IngressClient) -> bool:
    """Whether the model itself answers; anything else is the ingress controller not knowing the route yet."""
    import urllib3.exceptions

    try:
        return client.score(FLOWERS).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def by_hand(child: dict) -> dict:
    """A live object without what the API server and the operator added to it."""
    kept = {key: value for key, value in child.items() if key != "status"}
    meta = {
        key: child["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations")
        if key in child["metadata"]
    }
    meta["labels"] = {k: v for k, v in meta["labels"].items() if k != "app.kubernetes.io/managed-by"}
    meta.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    kept["metadata"] = meta
    for address in ("clusterIP", "clusterIPs"):
        kept.get("spec", {}).pop(address, None)
    return kept


def all_rounds(seconds: list[float]) -> str:
    """Each round's figure."""
    return ", ".join(f"{s:.2f}" for s in seconds)


def main() -> None:
    """Measure both in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    bench = Bench()
    children = bench.children()
    services, bares = [], []
    for number in range(rounds):
        services.append(bench.as_service())
        bares.append(bench.as_bare(children))
        print(f"round {number + 1}: service {services[-1]:.2f} s, bare {bares[-1]:.2f} s", flush=True)
    share = statistics.median(b / s for s, b in zip(services, bares, strict=True))
    lines = [
        "# From `kubectl apply` to the first scored answer",
        "",
        f"Medians of {rounds} rounds on one node with warm images; `make bench` measures anew.",
        "",
        "| deployed as | seconds | all rounds |",
        "|---|---|---|",
        f"| one ScoringService | {statistics.median(services):.2f} | {all_rounds(services)} |",
        f"| bare Deployment, Service, Ingress | {statistics.median(bares):.2f} | {all_rounds(bares)} |",
        "",
        f"A bare Deployment of the same image needs {share:.0%} of it (median of the rounds' ratios).",
    ]
    report = ROOT / "docs" / "benchmarks" / "apply-to-answer.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
