"""Ten minutes of steady load through Ingress and router while, one after the other, everything changes.

Shares, promotion, rollback, a version that goes and comes back, other pods, pods killed, the operator killed, a router
killed, a key replaced: not one request fails, not even one that a killed pod had begun with, because pods end what
they began.
"""

import base64
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, Operator
from tests.e2e.test_lifecycle import settled
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.e2e.test_versions import router_pods, versions

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]

SECONDS = 600
NAME = "soak"


@contextmanager
def counted(client: IngressClient, doing: list[str]) -> Iterator[Counter[tuple[str, str]]]:
    """Score one request after the other; counts (what was being done, how the request ended)."""
    found: Counter[tuple[str, str]] = Counter()
    over = threading.Event()

    def score() -> None:
        while not over.is_set():
            now = doing[0]
            try:
                found[now, str(client.score(FLOWERS).status)] += 1
            except Exception as error:
                found[now, type(error).__name__] += 1

    callers = [threading.Thread(target=score) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        yield found
    finally:
        over.set()
        for caller in callers:
            caller.join()


def test_nothing_is_lost_while_everything_changes(namespace: Namespace, iris: dict, operator: Operator) -> None:
    first, second = {"name": "v1", "replicas": 2}, {"name": "v2", "replicas": 2}

    def write(*named: dict[str, Any]) -> None:
        namespace.apply(NAME, versions(iris, *named))
        settled(namespace, NAME)

    def kill(selector: str) -> None:
        pods = namespace.get("pods", "-l", f"scoring.dev/service={NAME},{selector}")["items"]
        namespace.run("delete", "pod", pods[0]["metadata"]["name"])
        settled(namespace, NAME)

    def kill_the_operator() -> None:
        operator.stop()
        operator.start()
        settled(namespace, NAME)

    def kill_a_router() -> None:
        namespace.run("delete", "pod", router_pods(namespace, NAME)[0]["metadata"]["name"])
        settled(namespace, NAME)

    def replace_a_key() -> None:
        value = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
        patch = f'{{"data": {{"secondary": "{value}"}}}}'
        namespace.run("patch", "secret", f"{NAME}-keys", "--type=merge", "-p", patch)
        settled(namespace, NAME)

    another = {**second, "batching": {"maxSize": 16}}
    steps: dict[str, Callable[[], None]] = {
        "shares": lambda: write(first, {**second, "traffic": 50}),
        "promotion": lambda: write(first, {**second, "default": True}),
        "rollback": lambda: write({**first, "default": True}, second),
        "a version goes": lambda: write(first),
        "a version comes": lambda: write(first, {**second, "traffic": 50}),
        "its pods are replaced": lambda: write(first, {**another, "traffic": 50}),
        "a pod is killed": lambda: kill("scoring.dev/version=v1"),
        "the operator is killed": kill_the_operator,
        "a router is killed": kill_a_router,
        "a key is replaced": replace_a_key,
    }
    namespace.deploy(NAME, versions(iris, first, {**second, "traffic": 20}))
    client = namespace.client(NAME, "versions.example.com")
    eventually_answered(client, FLOWERS)
    doing = ["nothing"]
    end = time.monotonic() + SECONDS
    with counted(client, doing) as found:
        while time.monotonic() < end:
            for doing[0], step in steps.items():
                step()
    assert {what for what, _ in found} >= set(steps)
    assert {ended: count for ended, count in found.items() if ended[1] != "200"} == {}
