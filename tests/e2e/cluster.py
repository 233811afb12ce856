"""What the end-to-end tests do to the cluster: kubectl, waiting, ScoringServices, the operator itself."""

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.client import IngressClient
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Kubectl:
    """kubectl, for the cluster under test."""

    program: Path
    kubeconfig: Path

    def __call__(
        self, *args: str, input: str | bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run it with these arguments; fails the test with kubectl's own words unless `check` is off."""
        stdin = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            [str(self.program), *args],
            input=stdin,
            capture_output=True,
            env=self._environment,
            timeout=240,
            check=False,
        )
        result = subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), done.stderr.decode())
        if check and result.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(args)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    @contextmanager
    def lines(self, *args: str) -> Iterator[list[str]]:
        """What it writes meanwhile, line by line; it is ended with the block."""
        found: list[str] = []
        command = [str(self.program), *args]
        with subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            reader = threading.Thread(target=found.extend, args=(map(str.rstrip, process.stdout),))
            reader.start()
            try:
                yield found
            finally:
                process.terminate()
                reader.join()

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}


def eventually(probe: Callable[[], Any], *, timeout: float = PATIENCE, what: str = "", every: float = 0.25) -> Any:
    """Return the first truthy value of `probe`; after `timeout` seconds fail with the last value it gave."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or probe}; last value: {value!r}")
        time.sleep(every)


def manifest(name: str, spec: dict[str, Any]) -> str:
    """The YAML of a ScoringService."""
    document = {
        "apiVersion": "scoring.dev/v1alpha1",
        "kind": "ScoringService",
        "metadata": {"name": name},
        "spec": spec,
    }
    return yaml.safe_dump(document)


@dataclass(frozen=True)
class Namespace:
    """One test's namespace: applies ScoringServices and looks at what became of them."""

    name: str
    kubectl: Kubectl
    ingress_address: str
    scratch: Path

    @property
    def host(self) -> str:
        """A host name that no other test has: a proxy may still know the service of the test before."""
        return f"{self.name}.example.com"

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """kubectl in this namespace."""
        return self.kubectl("-n", self.name, *args, **options)

    def get(self, *args: str) -> dict[str, Any]:
        """The object (or list) that `kubectl get` gives, or {} when it is not there."""
        done = self.run("get", *args, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def apply(self, name: str, spec: dict[str, Any]) -> None:
        """`kubectl apply` a ScoringService."""
        self.run("apply", "-f", "-", input=manifest(name, spec))

    @contextmanager
    def watching(self, what: str, jsonpath: str) -> Iterator[Callable[[], list[str]]]:
        """Watch an object; the result gives what `jsonpath` was at each of its changes so far, the newest included."""
        template = f"jsonpath={{.metadata.resourceVersion}} {jsonpath}{{'\\n'}}"
        with self.kubectl.lines("-n", self.name, "get", what, "--watch", "-o", template) as lines:

            def noted() -> list[str]:
                newest = int(self.get(what)["metadata"]["resourceVersion"])
                eventually(lambda: lines and int(lines[-1].split()[0]) >= newest, what=f"the watch tells of {what}")
                return [line.partition(" ")[2] for line in lines]

            yield noted

    def wait_ready(self, name: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait as a user would, with `kubectl wait`; on a time-out fail with the service's own message."""
        done = self.run("wait", "--for=condition=Ready", f"scoringservice/{name}", f"--timeout={timeout}s", check=False)
        service = self.get("scoringservice", name)
        if done.returncode != 0:
            pods = self.run("get", "pods", "-o", "wide", check=False).stdout
            raise AssertionError(f"{name} is not Ready: {json.dumps(service.get('status'), indent=1)}\n{pods}")
        return service

    def deploy(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Apply and wait until it is Ready."""
        self.apply(name, spec)
        return self.wait_ready(name)

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """One condition of a ScoringService, {} when it has none of that type."""
        conditions = self.get("scoringservice", name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def wait_reason(self, name: str, reason: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until Ready is False for this reason; the whole ScoringService."""

        def failed() -> bool:
            ready = self.condition(name, "Ready")
            return ready.get("status") == "False" and ready.get("reason") == reason

        eventually(failed, timeout=timeout, what=f"{name} Ready=False/{reason}; it is {self.condition(name, 'Ready')}")
        return self.get("scoringservice", name)

    def secret(self, name: str) -> dict[str, str]:
        """The decoded data of a Secret."""
        data = self.get("secret", name).get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def published(self, spec: dict[str, Any], path: str = "/") -> dict[str, Any]:
        """The spec with a self-signed Traefik Ingress at this namespace's host."""
        return {
            **spec,
            "ingress": {"className": "traefik", "host": self.host, "path": path, "tls": {"selfSigned": True}},
        }

    def client(self, name: str, path: str = "/") -> IngressClient:
        """A client at this namespace's host; has the primary key, if there is one, and trusts only the service's CA."""
        ca = self.scratch / f"{name}-ca.crt"
        ca.write_text(self.secret(f"{name}-tls")["ca.crt"])
        key = self.secret(f"{name}-keys").get("primary")  # a service with tokens has none
        return IngressClient(self.ingress_address, self.host, str(ca), key, path)

    def owned(self, name: str) -> list[str]:
        """kind/name of every object in the namespace that carries the service's label."""
        kinds = "deployments,replicasets,pods,services,ingresses,secrets,serviceaccounts"
        done = self.run(
            "get", f"{kinds},poddisruptionbudgets,networkpolicies", "-l", f"scoring.dev/service={name}", "-o", "name"
        )
        return sorted(done.stdout.split())


@dataclass(frozen=True)
class Operator:
    """The operator's Deployment, as installed by the chart."""

    kubectl: Kubectl
    namespace: str = "scoring-system"
    name: str = "scoring-operator"

    def stop(self) -> None:
        """Scale to zero and wait until its pod is gone."""
        self._scale(0)
        self.kubectl(
            "-n",
            self.namespace,
            "wait",
            "--for=delete",
            "pod",
            "-l",
            f"app.kubernetes.io/name={self.name}",
            f"--timeout={PATIENCE}s",
        )

    def start(self) -> None:
        """Scale to one and wait until it is ready."""
        self._scale(1)
        self.kubectl("-n", self.namespace, "rollout", "status", f"deployment/{self.name}", f"--timeout={PATIENCE}s")

    def kill(self) -> None:
        """End its pods at once, without a chance to end anything properly, and wait until another one is ready."""
        before = self._pods()
        self.kubectl("-n", self.namespace, "delete", *before, "--grace-period=0", "--force", "--ignore-not-found")
        eventually(lambda: self._pods() - before, what="another pod of the operator")
        self.start()

    def _pods(self) -> set[str]:
        found = self.kubectl(
            "-n", self.namespace, "get", "pods", "-l", f"app.kubernetes.io/name={self.name}", "-o", "name"
        )
        return set(found.stdout.split())

    def restarts(self) -> int:
        """How often the operator's containers restarted: a crash shows here."""
        done = self.kubectl(
            "-n", self.namespace, "get", "pods", "-l", f"app.kubernetes.io/name={self.name}", "-o", "json"
        )
        pods = json.loads(done.stdout)["items"]
        return sum(c["restartCount"] for pod in pods for c in pod["status"].get("containerStatuses", []))

    def _scale(self, replicas: int) -> None:
        self.kubectl("-n", self.namespace, "scale", f"deployment/{self.name}", f"--replicas={replicas}")
