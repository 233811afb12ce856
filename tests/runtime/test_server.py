"""A real server process: what only shows with sockets and threads.

case                                         expected
chunked, oversized, unread bodies            the answer arrives, not a broken connection
all slots busy, clients that send slowly     health checks are answered at once
keys rotate                                  not one request fails
logs                                         JSON lines, one a request, without keys and payloads
"""

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE, until

FLOWER = [[5.1, 3.5, 1.4, 0.2]]


@pytest.fixture(scope="module")
def iris(start_server: Callable[..., Any], iris_folder: Path) -> Any:
    return start_server(iris_folder, max_body_bytes=100_000).wait_ready()


def test_scoring(iris: Any) -> None:
    assert iris.score(FLOWER) == (200, [0])
    status, headers, _ = iris.request("POST", "/score", b"{")
    assert (status, headers["content-type"]) == (400, "application/json")
    status, headers, body = iris.request("GET", "/nope")
    assert (status, json.loads(body)["error"]["code"]) == (404, "NotFound")


def test_many_clients_get_their_own_answers(iris: Any) -> None:
    def client(number: int) -> list:
        connection = iris.connect()
        answers = []
        for turn in range(20):
            row = [5.1, 3.5, 1.4, 0.2] if (number + turn) % 2 else [6.7, 3.0, 5.2, 2.3]
            connection.request("POST", "/score", json.dumps({"data": [row]}), {"Content-Type": "application/json"})
            answers.append((json.loads(connection.getresponse().read()), [0] if (number + turn) % 2 else [2]))
        return answers

    with ThreadPoolExecutor(16) as threads:
        for answers in threads.map(client, range(16)):
            assert all(found == expected for found, expected in answers)


def test_head_and_keep_alive(iris: Any) -> None:
    connection = iris.connect()
    for method in ("HEAD", "GET", "OPTIONS", "HEAD"):
        connection.request(method, "/healthz")
        response = connection.getresponse()
        assert (response.status, response.read() == b"") == (200, method != "GET")


def test_chunked_bodies(iris: Any) -> None:
    def send(size: int) -> tuple[int, Any]:
        body = json.dumps({"data": FLOWER}).encode().ljust(size)
        connection = iris.connect()
        chunks = (body[start : start + 7000] for start in range(0, len(body), 7000))
        connection.request("POST", "/score", chunks, {"Content-Type": "application/json"}, encode_chunked=True)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    assert send(100_000) == (200, [0])
    status, body = send(100_001)
    assert (status, body["error"]["code"]) == (413, "BodyTooLarge")


@pytest.mark.parametrize("size", [100_001, 390_000])
def test_an_oversized_body_gets_its_answer(iris: Any, size: int) -> None:
    status, _, body = iris.request("POST", "/score", b" " * size)
    assert (status, json.loads(body)["error"]["code"]) == (413, "BodyTooLarge")


def test_a_body_that_no_one_reads_to_its_end(iris: Any) -> None:
    """The refusal is sent although the client has sent a part only, and others are served."""
    with socket.create_connection(("127.0.0.1", iris.port)) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 10\r\n\r\n12345")
        assert iris.score(FLOWER) == (200, [0])


def test_header_injection_and_garbage_do_not_end_the_server(iris: Any) -> None:
    for garbage in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", iris.port), timeout=PATIENCE) as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    assert iris.score(FLOWER) == (200, [0])


def test_health_under_full_load(start_slow: Any) -> None:
    """Every slot and every place in the queue is taken, and others send their bodies slowly; probes do not wait."""
    server = start_slow(max_concurrent=2, max_queue_wait_milliseconds=60_000, timeout_seconds=30)
    slow_clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for client in slow_clients:
        client.sendall(
            b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
        )
    with ThreadPoolExecutor(60) as threads:
        scoring = [threads.submit(server.score, [[0.5]]) for _ in range(60)]
        until(lambda: json.loads(server.request("GET", "/load")[2])["queued"] > 50)
        for path in ("/healthz", "/readyz", "/metrics", "/load"):
            assert server.request("GET", path)[0] == 200
        assert json.loads(server.request("GET", "/load")[2])["busy"] == 2, "the probes were answered before the others"
        assert [future.result() for future in scoring] == [(200, [0.5])] * 60
    for client in slow_clients:
        client.close()


def test_overload_and_timeouts(start_slow: Any) -> None:
    server = start_slow(max_concurrent=1, max_queue_wait_milliseconds=50, timeout_seconds=2)
    with ThreadPoolExecutor(2) as threads:
        busy = threads.submit(server.score, [[4.0]])
        until(lambda: json.loads(server.request("GET", "/load")[2])["busy"] == 1)
        status, headers, body = server.request("POST", "/score", b'{"data": [[0]]}')
        assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (503, "1", "Overloaded")
        status, body = busy.result()
        assert (status, body["error"]["code"]) == (504, "TimedOut")
    until(lambda: server.score([[0.0]])[0] == 200)


def test_keys_rotate_without_a_failed_request(start_server: Any, iris_folder: Path, tmp_path: Path) -> None:
    for name in ("primary", "secondary"):
        (tmp_path / name).write_text(f"{name}-1")
    server = start_server(iris_folder, auth="key", keys_dir=tmp_path).wait_ready()
    statuses: list[int] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            statuses.append(server.score(FLOWER, Authorization="Bearer secondary-1")[0])

    thread = threading.Thread(target=client)
    thread.start()
    (tmp_path / "new").write_text("primary-2")
    (tmp_path / "new").replace(tmp_path / "primary")
    until(lambda: server.score(FLOWER, Authorization="Bearer primary-2")[0] == 200)
    assert server.score(FLOWER, Authorization="Bearer primary-1")[0] == 401
    stop.set()
    thread.join()
    assert set(statuses) == {200}
    assert "primary-" not in server.log.read_text()
    assert "secondary-" not in server.log.read_text()


def test_logs_have_every_request_and_no_payload(start_slow: Any) -> None:
    server = start_slow()
    assert server.score([[-123456.5, 0.0]], X_Request_Id="the-id")[0] == 500
    assert server.score([["secret text"]])[0] == 400
    server.request("GET", "/healthz")
    server.request("POST", "/score", b"secret text", Authorization="Bearer secret key")
    until(lambda: sum(record["logger"] == "access" for record in server.records()) >= 3)
    text = server.log.read_text()
    assert "123456" not in text
    assert "secret" not in text
    access = [record for record in server.records() if record["logger"] == "access"]
    assert access[0].items() >= {"requestId": "the-id", "method": "POST", "path": "/score", "status": 500}.items()
    assert access[0]["error"] == "ModelFailed"
    assert access[0]["ms"] > 0
    assert access[0]["bytes"] > 0
    assert all(record["path"] != "/healthz" for record in access)
    (failure,) = [record for record in server.records() if record.get("exception") == "ZeroDivisionError"]
    assert any("slow_model.py:" in frame for frame in failure["frames"])
