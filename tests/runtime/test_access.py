"""What is open and what asks for a credential, and the port for metrics.

case                                          expected
health                                        open, whatever the settings say
metrics and load                              open; with SCORING_METRICS_AUTH=required by the credential of scoring
description of the API                        by the credential; with SCORING_DOCS_AUTH=none open
SCORING_METRICS_PORT                          metrics and load there alone, with health; answered while all are busy
keys that change under load                   no request with a key that was not replaced fails
a token issuer that does not answer           not ready until it does, then ready
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.auth import authenticator
from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.frameworks import Model
from scoring_runtime.settings import Settings
from tests.runtime.test_token_keys import Issuer, key_set, says, token
from tests.waiting import PATIENCE, until

FLOWER = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'
KEY = {"Authorization": "Bearer first-key"}
HEALTH = ("/", "/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "primary").write_text("first-key")
    (tmp_path / "secondary").write_text("second-key")
    return tmp_path


def statuses(client: Any, paths: tuple[str, ...], headers: dict[str, str] | None = None) -> set[int]:
    return {client.get(path, headers=headers).status_code for path in paths}


def test_by_default_only_scoring_and_descriptions_ask(make_app: Any, iris_model: Model, keys: Path) -> None:
    client = make_app(iris_model, auth="key", keys_dir=keys).test_client()
    assert statuses(client, (*HEALTH, "/metrics", "/load")) == {200}
    assert statuses(client, ("/swagger.json",)) == {401}
    assert statuses(client, ("/swagger.json",), KEY) == {200}
    assert client.post("/score", data=FLOWER).status_code == 401


def test_metrics_that_ask_and_descriptions_that_do_not(make_app: Any, iris_model: Model, keys: Path) -> None:
    client = make_app(iris_model, auth="key", keys_dir=keys, metrics_auth="required", docs_auth="none").test_client()
    assert statuses(client, (*HEALTH, "/swagger.json")) == {200}
    assert statuses(client, ("/metrics", "/load")) == {401}
    assert statuses(client, ("/metrics", "/load"), {"Authorization": "Bearer no"}) == {401}
    assert statuses(client, ("/metrics", "/load"), KEY) == {200}
    refused = client.get("/metrics")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="scoring"'
    assert refused.get_json()["error"]["code"] == "Unauthorized"


def test_metrics_cannot_ask_when_there_is_nothing_to_ask_for() -> None:
    with pytest.raises(SettingsInvalid, match="SCORING_METRICS_AUTH=required and SCORING_AUTH=none"):
        authenticator(Settings(auth="none", metrics_auth="required"))


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_the_port_for_metrics(start_slow: Any, unused_tcp_port: int, keys: Path) -> None:
    server = start_slow(
        metrics_port=unused_tcp_port, max_concurrent=2, auth="key", keys_dir=keys, metrics_auth="required"
    )
    for path in ("/metrics", "/load"):
        assert server.request("GET", path, **KEY)[0] == 404
        assert get(unused_tcp_port, path)[0] == 401
        assert get(unused_tcp_port, path, **KEY)[0] == 200
    assert get(unused_tcp_port, "/healthz") == (200, b'{"status":"alive"}')
    assert get(unused_tcp_port, "/readyz") == (200, b'{"state":"ready"}')
    assert get(unused_tcp_port, "/healthz", "HEAD") == (200, b"")
    assert get(unused_tcp_port, "/score")[0] == 404
    assert get(unused_tcp_port, "/healthz", "POST")[0] == 405
    with ThreadPoolExecutor(300) as threads:
        # Every thread of the other port is taken: those that wait, and the spare ones by clients that send no body.
        waiting = [threads.submit(server.score, [[2.0]], **KEY) for _ in range(300)]
        until(lambda: json.loads(get(unused_tcp_port, "/load", **KEY)[1])["queued"] > 0)
        assert get(unused_tcp_port, "/readyz")[0] == 200
        assert b"scoring_queued" in get(unused_tcp_port, "/metrics", **KEY)[1]
        assert {future.result()[0] for future in waiting} <= {200, 503}


@pytest.mark.slow
def test_keys_change_under_load(start_server: Any, iris_folder: Path, keys: Path) -> None:
    """As Kubernetes does it: a new folder, and a link that moves. Clients use the other key and notice nothing."""
    mounted = keys / "mounted"
    mounted.mkdir()
    (mounted / "..0").mkdir()
    (mounted / "..data").symlink_to("..0")
    for name in ("primary", "secondary"):
        (mounted / "..0" / name).write_text(f"{name}-key-0")
        (mounted / name).symlink_to(f"..data/{name}")
    server = start_server(iris_folder, auth="key", keys_dir=mounted, log_level="warning").wait_ready()
    over = threading.Event()
    answers: list[int] = []

    def client() -> None:
        connection = server.connect()
        while not over.is_set():
            connection.request("POST", "/score", FLOWER, {"Authorization": "Bearer secondary-key-0"})
            response = connection.getresponse()
            response.read()
            answers.append(response.status)

    with ThreadPoolExecutor(2) as threads:
        clients = [threads.submit(client) for _ in range(2)]
        for number in range(1, 3):
            new = mounted / f"..{number}"
            new.mkdir()
            (new / "primary").write_text(f"primary-key-{number}")
            (new / "secondary").write_text("secondary-key-0")
            (mounted / "..moving").symlink_to(new.name)
            (mounted / "..moving").replace(mounted / "..data")
            for file in (mounted / f"..{number - 1}").iterdir():
                file.unlink()
            wanted, old = ({"Authorization": f"Bearer primary-key-{each}"} for each in (number, number - 1))
            while server.request("POST", "/score", FLOWER, **wanted)[0] != 200:
                assert not over.wait(0.02)
            assert server.request("POST", "/score", FLOWER, **old)[0] == 401
        over.set()
        for each in clients:
            each.result()
    assert len(answers) > 2
    assert set(answers) == {200}


def test_ready_when_the_issuer_has_answered(start_server: Any, iris_folder: Path) -> None:
    issuer = Issuer()
    issuer.answer = says(b"", 503)
    try:
        server = start_server(
            iris_folder, auth="token", token_issuer="https://i", token_audience="a", token_jwks=issuer.address._url
        )
        until(lambda: "cannot fetch the keys" in server.log.read_text())
        assert server.request("GET", "/healthz")[0] == 200
        assert server.request("GET", "/readyz")[0] == 503
        status, headers, body = server.request("POST", "/score", FLOWER, Authorization=token("one"))
        assert (status, json.loads(body)["error"]["code"], headers["retry-after"]) == (503, "NotReady", "1")
        issuer.answer = says(key_set("one"))
        server.wait_ready()
        assert server.request("POST", "/score", FLOWER, Authorization=token("one"))[0] == 200
        status, headers, body = server.request("POST", "/score", FLOWER, Authorization=token("two"))
        assert status == 401
        assert 'error="invalid_token"' in headers["www-authenticate"]
    finally:
        issuer.close()
