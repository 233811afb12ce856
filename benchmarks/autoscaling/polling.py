"""What it costs the operator to ask many pods for their load each second.

    python -m benchmarks.autoscaling.polling [SERVICES] [SECONDS]

The operator's own loop over so many services with one pod each, in this process; the pods are addresses of the loopback
device that one small HTTP server in another process answers. Prints the CPU time of this process for each second.
"""

import asyncio
import datetime as dt
import subprocess
import sys
import time
from typing import Any

from scoring_operator.autoscaling.loop import Autoscaler, Clocks
from scoring_operator.autoscaling.polling import PodLoads
from scoring_operator.connection import Connection
from scoring_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE, SCORING_SERVICE
from scoring_operator.kube import Kube
from scoring_operator.metrics import Metrics
from scoring_operator.store import Store

SERVER = """
import asyncio
BODY = b'{"busy":4,"queued":0,"slots":8}'
HEAD = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(BODY)
class Pod(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write((HEAD + BODY) * data.count(b"\\r\\n\\r\\n"))
async def main():
    server = await asyncio.get_running_loop().create_server(Pod, "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def objects(number: int) -> list[tuple[Any, dict[str, Any]]]:
    """A service with its Deployment and its one pod's address."""
    name, uid = f"s{number}", f"uid-{number}"
    owner = {
        "apiVersion": "scoring.dev/v1alpha1",
        "kind": "ScoringService",
        "name": name,
        "uid": uid,
        "controller": True,
    }
    labels = {"scoring.dev/service": name, "scoring.dev/version": "default"}
    spec = {"model": {"uri": "s3://models/iris/", "framework": "sklearn"}, "autoscaling": {"maxReplicas": 4}}
    head = {"namespace": "team", "resourceVersion": "1", "generation": 1}
    return [
        (
            SCORING_SERVICE,
            {
                "apiVersion": "scoring.dev/v1alpha1",
                "kind": "ScoringService",
                "metadata": {**head, "name": name, "uid": uid},
                "spec": spec,
            },
        ),
        (
            DEPLOYMENT,
            {
                "metadata": {**head, "name": f"{name}-default", "uid": f"d-{number}", "ownerReferences": [owner]},
                "spec": {"replicas": 1},
            },
        ),
        (
            ENDPOINT_SLICE,
            {
                "metadata": {**head, "name": name, "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [f"127.0.{1 + number // 250}.{1 + number % 250}"]}],
            },
        ),
    ]


async def measure(services: int, seconds: float, port: int) -> tuple[float, int]:
    """CPU seconds of this process for each second, and how many versions told their load."""
    store, metrics = Store(), Metrics()
    for number in range(services):
        for kind, found in objects(number):
            store.put(kind, found)
    configuration = type("Nowhere", (), {"host": "http://127.0.0.1:1", "ssl_ca_cert": None, "ca_cert_data": None})
    configuration.cert_file = configuration.proxy = configuration.tls_server_name = None
    configuration.verify_ssl = True
    kube = Kube(Connection(configuration))
    clocks = Clocks(time.monotonic, lambda: dt.datetime.now(dt.UTC))
    autoscaler = Autoscaler(kube, store, clocks, metrics)
    async with PodLoads(port) as loads:
        running = asyncio.create_task(autoscaler.run(loads))
        await asyncio.sleep(3)
        began, used = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        cost = (time.process_time() - used) / (time.monotonic() - began)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await kube.close()
    told = sum("utilization_ratio{" in line for line in metrics.exposition().decode().splitlines() if "0.5" in line)
    return cost, told


def main() -> None:
    """Start the server, measure, print."""
    services = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        cost, told = asyncio.run(measure(services, seconds, int(server.stdout.readline())))
        server.terminate()
    print(f"{services} services, {told} told their load: {cost:.3f} cores")


if __name__ == "__main__":
    main()
