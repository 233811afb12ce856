"""Ten minutes of steady load through Ingress and router while, one after the other, everything changes.

Shares, promotion, rollback, a version that goes and comes back, its model swapped, pods, the operator and a router
deleted, a key replaced, the certificate renewed: not one request fails, because pods end what they began.

A pod or a router that is killed at once cannot. What it had begun with is counted apart, and is at most what was at
hand.
"""

import base64
import datetime as dt
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scoring_operator.certificates import LEAF_LIFETIME, Authority, issue
from scoring_operator.naming import AUTHORITY_SECRET
from tests.e2e import models
from tests.e2e.client import Answer, IngressClient
from tests.e2e.cluster import Namespace, Operator, eventually
from tests.e2e.test_ingress_tls import served
from tests.e2e.test_lifecycle import settled
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.e2e.test_versions import ROUTER, versions

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]

SECONDS = 600
CALLERS = 2
NAME = "soak"
KILLED = "a pod is killed at once"
ROUTER_KILLED = "a router is killed at once"
BEGUN = "502 ModelFailed"
"""How a request ends that a pod had begun with when it was killed."""
CUT = "502 Bad Gateway"
"""How a request ends that a router had begun with when it was killed: in the words of the ingress controller."""


@contextmanager
def counted(client: IngressClient, doing: list[str]) -> Iterator[Counter[tuple[str, str]]]:
    """Score one request after the other; counts (what was being done, how the request ended)."""
    found: Counter[tuple[str, str]] = Counter()
    over = threading.Event()

    def score() -> None:
        while not over.is_set():
            now = doing[0]
            try:
                ended = _ended(client.score(FLOWERS))
            except Exception as error:
                ended = type(error).__name__
            found[now, ended] += 1

    callers = [threading.Thread(target=score) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield found
    finally:
        over.set()
        for caller in callers:
            caller.join()


def _ended(answer: Answer) -> str:
    if answer.status == 200:
        return "200"
    error = answer.body.get("error", {}) if isinstance(answer.body, dict) else {}
    return f"{answer.status} {error.get('code', answer.body)}"


class Steps:
    """What is done to the service, one after the other; each returns once the service has settled."""

    def __init__(self, namespace: Namespace, iris: dict, operator: Operator, client: IngressClient) -> None:
        self._namespace, self._iris, self._operator, self._client = namespace, iris, operator, client
        self.kills = 0

    def write(self, *named: dict[str, Any]) -> None:
        self._namespace.apply(NAME, versions(self._namespace, self._iris, *named))
        settled(self._namespace, NAME)

    def delete_a_pod(self, selector: str, *options: str) -> None:
        pods = self._namespace.get("pods", "-l", f"scoring.dev/service={NAME},{selector}")["items"]
        self._namespace.run("delete", "pod", pods[0]["metadata"]["name"], *options)
        settled(self._namespace, NAME)

    def kill_a_pod(self, selector: str) -> None:
        self.kills += 1
        self.delete_a_pod(selector, "--grace-period=0", "--force")

    def kill_the_operator(self) -> None:
        self._operator.stop()
        self._operator.start()
        settled(self._namespace, NAME)

    def replace_a_key(self) -> None:
        self._patch_secret(f"{NAME}-keys", {"secondary": secrets.token_urlsafe(32).encode()})
        settled(self._namespace, NAME)

    def renew_the_certificate(self) -> None:
        """Make the certificate one whose time has nearly come; the operator renews it, and the ingress shows it."""
        namespace = self._namespace
        found = namespace.kubectl("-n", "scoring-system", "get", "secret", AUTHORITY_SECRET, "-o", "json").stdout
        data = {name: base64.b64decode(value) for name, value in json.loads(found)["data"].items()}
        authority = Authority(data["tls.crt"], data["tls.key"])
        old = issue(authority, [namespace.host], dt.datetime.now(dt.UTC) - LEAF_LIFETIME * 0.9)
        before = {old.certificate.decode(), namespace.secret(f"{NAME}-tls")["tls.crt"]}
        self._patch_secret(f"{NAME}-tls", {"tls.crt": old.certificate, "tls.key": old.key})
        eventually(lambda: namespace.secret(f"{NAME}-tls")["tls.crt"] not in before, what="a renewed certificate")
        renewed = namespace.secret(f"{NAME}-tls")["tls.crt"]
        eventually(lambda: served(self._client, namespace.host, renewed), what="the renewed certificate to be shown")

    def _patch_secret(self, name: str, data: dict[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self._namespace.run("patch", "secret", name, "--type=merge", "-p", json.dumps({"data": encoded}))


def test_nothing_is_lost_while_everything_changes(
    namespace: Namespace,
    iris: dict,
    operator: Operator,
    model_files: dict[str, Path],
    record_property: Callable[[str, object], None],
) -> None:
    models.upload(namespace.kubectl, model_files["iris"], "s3://models/iris-of-another-day/")
    first, second = {"name": "v1", "replicas": 2}, {"name": "v2", "replicas": 2}
    swapped = {**second, "model": {**iris["model"], "uri": "s3://models/iris-of-another-day/"}}
    namespace.deploy(NAME, versions(namespace, iris, first, {**second, "traffic": 20}))
    client = namespace.client(NAME)
    eventually_answered(client, FLOWERS)
    act = Steps(namespace, iris, operator, client)
    steps: dict[str, Callable[[], None]] = {
        "shares": lambda: act.write(first, {**second, "traffic": 50}),
        "promotion": lambda: act.write(first, {**second, "default": True}),
        "rollback": lambda: act.write({**first, "default": True}, second),
        "a version goes": lambda: act.write(first),
        "a version comes": lambda: act.write(first, {**second, "traffic": 50}),
        "its model is swapped": lambda: act.write(first, {**swapped, "traffic": 50}),
        "a pod is deleted": lambda: act.delete_a_pod("scoring.dev/version=v1"),
        KILLED: lambda: act.kill_a_pod("scoring.dev/version=v1"),
        "the operator is killed": act.kill_the_operator,
        "a router is deleted": lambda: act.delete_a_pod(ROUTER),
        ROUTER_KILLED: lambda: act.kill_a_pod(ROUTER),
        "a key is replaced": act.replace_a_key,
        "the certificate is renewed": act.renew_the_certificate,
    }
    doing = ["nothing"]
    end = time.monotonic() + SECONDS
    with counted(client, doing) as found:
        while time.monotonic() < end:
            for doing[0], step in steps.items():
                step()
    begun = found.pop((KILLED, BEGUN), 0) + found.pop((ROUTER_KILLED, CUT), 0)
    record_property("requests", found.total())
    record_property("requests that a killed pod had begun with", f"{begun} in {act.kills} kills")
    assert {what for what, _ in found} >= set(steps)
    assert {ended: count for ended, count in found.items() if ended[1] != "200"} == {}
    assert begun <= act.kills * CALLERS
