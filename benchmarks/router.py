"""What the router costs, and what it is worth: beside the pod itself and beside a plain Service, in one run.

overhead   the same pod asked directly and through the router, in turn, by wrk with 1 and with 32 clients that keep
           their connections: each asking again at once, and 32 that pause so long that they ask half of what the
           router managed for them without a pause. Without a pause the processors are full, and the added latency is
           the router's share of them; with it, the added latency is what a request waits for the router.
uneven     four pods of one version, the fastest almost twice as fast as the slowest, each with one slot. Requests come
           at random moments (the same for both sides) at 70 % of what the four manage together, each on a connection of
           its own: through the router, which sends each to the pod with the fewest at hand, and through the Service,
           which draws a pod by chance. Latencies count from the moment a request was due.

Pods are asked by their addresses, so that this machine has to be a node: the embedded cluster, or a node of another.
The page is docs/benchmarks/router.md.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from devcluster.target import select
from scoring_operator.naming import version_service_name
from tests.e2e import installation
from tests.e2e.cluster import eventually
from tests.e2e.models import train, upload

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "router.md"
NAMESPACE = "bench-router"
FLOWERS = '{"data": [[5.1, 3.5, 1.4, 0.2]]}'
CLIENTS = (1, 32)
PAUSING = 32
PAUSING_LOAD = 0.5
"""The share of what the router manages for as many clients without a pause."""
PAUSES = (40, 50, 60, 70)
"""Milliseconds that each of the uneven pods takes for a request: long beside what client and proxies take of a core."""
LOAD = 0.7
SLEEPER = """
import json
import time

pause = 0.0


def init():
    pass


def run(raw):
    global pause
    asked = json.loads(raw)
    if "pause" in asked:
        pause = asked["pause"] / 1000
    time.sleep(pause)
    return {"pause": pause}
"""
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Latency:
    """Percentiles in milliseconds, and the requests a second at which they were found."""

    p50: float
    p99: float
    rate: float


def median(found: list[Latency]) -> Latency:
    """Of each figure over the rounds."""
    return Latency(*(statistics.median(getattr(one, name) for one in found) for name in ("p50", "p99", "rate")))


class Bench:
    """The cluster under measurement."""

    def __init__(self) -> None:
        self.target = select()
        images = json.loads((ROOT / ".out" / "images.json").read_text())
        installation.operator(self.target, images, ROOT / ".out" / "values.yaml")
        store = installation.object_store(self.kubectl, images)
        self.kubectl("create", "namespace", NAMESPACE, check=False)
        literals = [f"--from-literal={key}={value}" for key, value in installation.credentials(store).items()]
        self.run("create", "secret", "generic", "model-store", *literals, check=False)

    def kubectl(
        self, *args: str, input: str | bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; ends the program with its own words when it fails."""
        command = [str(self.target.kubectl), f"--kubeconfig={self.target.kubeconfig}", *args]
        stdin = input.encode() if isinstance(input, str) else input
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=240)
        if check and done.returncode != 0:
            sys.exit(f"kubectl {' '.join(args)}: {done.stderr.decode()}")
        return subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """kubectl in the namespace of the benchmark."""
        return self.kubectl("-n", NAMESPACE, *args, **options)

    def deploy(self, name: str, **spec: Any) -> None:
        """Two versions, of which the second gets nothing: there is a router. Waits until it takes the requests."""
        version = {key: spec.pop(key) for key in ("model", "replicas", "requestSettings") if key in spec}
        version["model"]["credentials"] = {"secretName": "model-store"}
        versions = [{"name": "v1", **version}, {"name": "v2", **version, "replicas": 1}]
        document = {
            "apiVersion": "scoring.dev/v1alpha1",
            "kind": "ScoringService",
            "metadata": {"name": name},
            "spec": {"auth": {"type": "None"}, "versions": versions, **spec},
        }
        self.run("apply", "-f", "-", input=yaml.safe_dump(document))
        self.run("wait", "--for=condition=Ready", f"scoringservice/{name}", "--timeout=200s")

        def routed() -> bool:
            service = self.run("get", "service", name, "-o", "json").stdout
            return "router" in json.dumps(json.loads(service)["spec"]["selector"])

        eventually(routed, what="the Service leads to the router")

    def pods(self, name: str, selector: str) -> list[str]:
        """The addresses of a service's pods."""
        found = self.run("get", "pods", "-l", f"scoring.dev/service={name},{selector}", "-o", "json").stdout
        return [pod["status"]["podIP"] for pod in json.loads(found)["items"]]

    def address(self, service: str) -> str:
        """The address of a Service."""
        return self.run("get", "service", service, "-o", "jsonpath={.spec.clusterIP}").stdout


def wrk(address: str, clients: int, seconds: int, pause: float = 0) -> Latency:
    """What wrk measures with this many clients, each pausing `pause` ms on average; every answer has to be 200."""
    lines = ["wrk.method = 'POST'", f"wrk.body = '{FLOWERS}'", "wrk.headers['Content-Type'] = 'application/json'"]
    if pause:
        lines.append(f"function delay() return math.random(0, {round(2 * pause)}) end")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", script.name]
        said = subprocess.run(
            [*command, f"http://{address}:8080/score"], capture_output=True, text=True, check=True
        ).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"not every request was answered by {address}:\n{said}")
    found = {percent: float(value) * _MILLISECONDS[unit] for percent, value, unit in _percentiles(said)}
    return Latency(found["50"], found["99"], float(said.partition("Requests/sec:")[2].split()[0]))


def _percentiles(said: str) -> list[tuple[str, str, str]]:
    return re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE)


def overhead(bench: Bench, rounds: int, seconds: int) -> dict[str, dict[str, Latency]]:
    """Clients, in words → side → the median over the rounds."""
    bench.deploy("overhead", model={"uri": "s3://models/iris/", "framework": "sklearn"})
    sides = {
        "pod": bench.pods("overhead", "scoring.dev/version=v1")[0],
        "router": bench.pods("overhead", "scoring.dev/component=router")[0],
    }
    for address in sides.values():
        wrk(address, max(CLIENTS), 2)

    def measured(clients: int, pause: float = 0) -> dict[str, Latency]:
        found: dict[str, list[Latency]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, address in sides.items():
                found[side].append(wrk(address, clients, seconds, pause))
        return {side: median(latencies) for side, latencies in found.items()}

    costs = {str(clients): measured(clients) for clients in CLIENTS}
    pause = 1000 * PAUSING / (PAUSING_LOAD * costs[str(PAUSING)]["router"].rate)
    return {**costs, f"{PAUSING}, pausing {pause:.0f} ms": measured(PAUSING, pause)}


async def arrivals(url: str, moments: list[float]) -> list[float]:
    """Send a request at each of these moments (seconds from now); the milliseconds from then to the answer."""
    start = time.perf_counter()

    async def send(session: aiohttp.ClientSession, moment: float) -> float:
        await asyncio.sleep(max(start + moment - time.perf_counter(), 0))
        async with session.post(url, data="{}", headers={"Content-Type": "application/json"}) as response:
            if response.status != 200:
                sys.exit(f"{url} answered {response.status}: {await response.text()}")
            await response.read()
        return (time.perf_counter() - start - moment) * 1000

    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        return list(await asyncio.gather(*(send(session, moment) for moment in moments)))


def uneven(bench: Bench, rounds: int, seconds: int) -> dict[str, Latency]:
    """Side → the median over the rounds."""
    settings = {"maxConcurrent": 1, "maxQueueWaitMilliseconds": 60_000}
    model = {"uri": "s3://models/sleeper/", "framework": "script"}
    bench.deploy("uneven", model=model, replicas=len(PAUSES), requestSettings=settings)
    for address, pause in zip(bench.pods("uneven", "scoring.dev/version=v1"), PAUSES, strict=True):
        _tell(f"http://{address}:8080/score", {"pause": pause})
    urls = {
        "Service": f"http://{bench.address(version_service_name('uneven', 'v1'))}/score",
        "router": f"http://{bench.address('uneven')}/score",
    }
    rate = LOAD * sum(1000 / pause for pause in PAUSES)
    found: dict[str, list[Latency]] = {side: [] for side in urls}
    for number in range(rounds):
        chance = random.Random(number)  # noqa: S311 - arrivals, no secret
        moments, moment = [], 0.0
        while (moment := moment + chance.expovariate(rate)) < seconds:
            moments.append(moment)
        for side, url in urls.items():
            cuts = statistics.quantiles(asyncio.run(arrivals(url, moments)), n=100)
            found[side].append(Latency(cuts[49], cuts[98], rate))
    return {side: median(latencies) for side, latencies in found.items()}


def _tell(url: str, asked: dict[str, Any]) -> None:
    async def send() -> int:
        async with aiohttp.ClientSession() as session, session.post(url, json=asked) as response:
            return response.status

    eventually(lambda: asyncio.run(send()) == 200, what=f"{url} takes its pause")


def page(costs: dict[str, dict[str, Latency]], balanced: dict[str, Latency], how: str) -> str:
    """The page with the figures."""
    lines = [
        "# What the router costs, and what it is worth",
        "",
        f"Written by `make bench-router` {how}.",
        "",
        "The same pod of a scikit-learn pipeline, one row a request, asked directly and through the router, in turn;",
        "load generator, router and model share the processors. Clients ask again at once, which fills the processors,",
        f"or pause, so that they ask {PAUSING_LOAD:.0%} of what the router managed without a pause. Milliseconds.",
        "",
        "| clients | | requests/s | p50 | p99 |",
        "|---|---|---|---|---|",
    ]
    for clients, sides in costs.items():
        pod, router = sides["pod"], sides["router"]
        lines += [
            f"| {clients} | pod | {pod.rate:.0f} | {pod.p50:.2f} | {pod.p99:.2f} |",
            f"| {clients} | through the router | {router.rate:.0f} | {router.p50:.2f} | {router.p99:.2f} |",
            f"| {clients} | **added** | | **{router.p50 - pod.p50:.2f}** | **{router.p99 - pod.p99:.2f}** |",
        ]
    pauses = ", ".join(map(str, PAUSES))
    ratio = balanced["router"].p99 / balanced["Service"].p99
    lines += [
        "",
        f"Four pods that take {pauses} ms for a request, one at a time, at {LOAD:.0%} of what they manage together;",
        "requests come at random moments, each on a connection of its own. Milliseconds.",
        "",
        "| balanced by | p50 | p99 |",
        "|---|---|---|",
        *(f"| {side} | {one.p50:.1f} | {one.p99:.1f} |" for side, one in balanced.items()),
        f"| **router / Service** | **{balanced['router'].p50 / balanced['Service'].p50:.2f}** | **{ratio:.2f}** |",
    ]
    return "\n".join(lines) + "\n"


def prepare(bench: Bench) -> None:
    """Put the models into the object store of the cluster."""
    with tempfile.TemporaryDirectory() as folder:
        sleeper = Path(folder) / "sleeper"
        sleeper.mkdir()
        (sleeper / "score.py").write_text(SLEEPER)
        upload(bench.kubectl, sleeper, "s3://models/sleeper/")
        upload(bench.kubectl, train("iris", Path(folder) / "iris"), "s3://models/iris/")


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement; twice as many for uneven pods")
    given = parser.parse_args()
    bench = Bench()
    try:
        prepare(bench)
        busy = f"load average {os.getloadavg()[0]:.1f} before"
        costs = overhead(bench, given.rounds, given.seconds)
        bench.run("delete", "scoringservice", "overhead")
        balanced = uneven(bench, given.rounds, 2 * given.seconds)
    finally:
        bench.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    how = f"on {os.cpu_count()} cores ({busy}), medians of {given.rounds} rounds of {given.seconds} s"
    text = page(costs, balanced, how)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
