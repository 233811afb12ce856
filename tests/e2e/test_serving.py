"""A ScoringService answers over HTTPS, from `kubectl apply` alone.

case                              expected
apply, wait, score                200 with the model's answers; the CA in the Secret verifies the certificate
plain HTTP                        redirected to HTTPS
no key, wrong key, secondary key  401, 401, 200
wrong requests                    one JSON error shape, never HTML
kubectl diff after apply          nothing
shared host below a path          both services answer
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.e2e.client import Answer, IngressClient
from tests.e2e.cluster import Namespace, eventually, manifest

pytestmark = pytest.mark.e2e

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 4.2, 1.5]]


def test_one_apply_ends_in_an_answer_over_https(namespace: Namespace, iris: dict, model_files: dict[str, Path]) -> None:
    import joblib

    spec = namespace.published(iris)
    service = namespace.deploy("iris", spec)
    assert service["status"]["url"] == f"https://{namespace.host}"
    assert service["status"]["readyReplicas"] == 1

    client = namespace.client("iris")
    answer = eventually_answered(client, FLOWERS)
    assert answer.body == joblib.load(model_files["iris"] / "model.joblib").predict(FLOWERS).tolist()

    redirect = client.request("GET", "score", https=False)
    assert redirect.status in {301, 302, 307, 308}
    assert redirect.headers["Location"].startswith(f"https://{namespace.host}/")

    stranger = namespace.client("iris")
    assert stranger.score(FLOWERS, headers={"Authorization": "Bearer wrong"}).status == 401
    assert stranger.score(FLOWERS, headers={"Authorization": ""}).status == 401
    secondary = namespace.secret("iris-keys")["secondary"]
    assert stranger.score(FLOWERS, headers={"Authorization": f"Bearer {secondary}"}).status == 200

    difference = namespace.run("diff", "-f", "-", input=manifest("iris", spec), check=False)
    assert (difference.returncode, difference.stdout) == (0, "")

    table = namespace.run("get", "scoringservices").stdout.split()
    assert {"READY", "URL", "TRAFFIC", "REPLICAS", "AGE", "True", "1/1", "default=100"} <= set(table)

    check_wrong_requests(client)


def eventually_answered(client: IngressClient, rows: list[list[float]], **options: Any) -> Answer:
    """The first answer to rows that is not the ingress controller still learning of the route."""
    return once_routed(lambda: client.score(rows, **options))


def once_routed(ask: Callable[[], Answer]) -> Answer:
    """The first answer that is not the ingress controller still learning of the route, or of its certificate."""

    def answered() -> Answer | None:
        try:
            answer = ask()
        except urllib3.exceptions.SSLError:
            return None
        assert answer.status in {200, 404, 502, 503}, answer
        return answer if answer.status == 200 else None

    found: Answer = eventually(answered, what="the route to answer")
    return found


def check_wrong_requests(client: Any) -> None:
    """Every wrong request gets its status in the one JSON shape."""
    as_json = {"Content-Type": "application/json"}
    cases = [
        (400, "POST", "score", {"body": b"{", "headers": as_json}),
        (400, "POST", "score", {"body": b'{"rows": []}', "headers": as_json}),
        (400, "POST", "score", {"body": b'{"data": [[1, 2]]}', "headers": as_json}),
        (404, "GET", "no/such/page", {}),
        (405, "DELETE", "score", {}),
        (413, "POST", "score", {"body": b'{"data": [[' + b"1," * 6_000_000 + b"1]]}", "headers": as_json}),
        (415, "POST", "score", {"body": b"a,b", "headers": {"Content-Type": "text/csv"}}),
    ]
    for status, method, path, options in cases:
        answer = client.request(method, path, **options)
        assert answer.status == status, (method, path, answer)
        assert set(answer.body["error"]) >= {"code", "message"}, answer.body
        assert "Traceback" not in json.dumps(answer.body)


def test_two_services_share_a_host(namespace: Namespace, iris: dict) -> None:
    for name in ("one", "two"):
        namespace.apply(name, namespace.published(iris, f"/{name}"))
    for name in ("one", "two"):
        assert namespace.wait_ready(name)["status"]["url"] == f"https://{namespace.host}/{name}"
        client = namespace.client(name, f"/{name}")
        assert eventually_answered(client, FLOWERS[:1]).body == [0]


def test_the_smallest_service_is_reachable_inside_the_cluster(namespace: Namespace, iris: dict) -> None:
    service = namespace.deploy("small", {"model": iris["model"]})
    assert service["status"]["url"] == f"http://small.{namespace.name}.svc"
    key = namespace.secret("small-keys")["primary"]
    script = (
        "import json, urllib.request as u;"
        f"r = u.Request('{service['status']['url']}/score', json.dumps({{'data': {FLOWERS}}}).encode(),"
        f" {{'Content-Type': 'application/json', 'Authorization': 'Bearer {key}'}});"
        "print(u.urlopen(r, timeout=10).read().decode())"
    )
    done = namespace.run("exec", "deploy/small-default", "-c", "runtime", "--", "python", "-c", script)
    assert json.loads(done.stdout) == [0, 2, 1]
