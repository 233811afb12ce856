"""Clients that send their body slowly, or never to its end, against a real server.

case                                         expected
more of them than slots and places           quick clients are answered before them
half a body and then nothing                 408 after the time for a body; the process keeps no thread
one byte now and then                        the same
idle, answered and computing connections     are left alone
"""

import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.web.stalled import StalledClients
from tests.waiting import PATIENCE, until

# The kernel's clock goes in steps, of 10 ms at the most.
TICK = 0.03
FLOWER = [[5.1, 3.5, 1.4, 0.2]]
HEAD = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"


def begin(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    client.sendall(HEAD)
    return client


def receiving(server: Any) -> int:
    """How many of the server's threads there are (proc(5)): each request that is being read has one."""
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def test_more_slow_clients_than_places(start_server: Any, iris_folder: Path) -> None:
    server = start_server(iris_folder, max_concurrent=2, body_timeout_seconds=10).wait_ready()
    before = receiving(server)
    clients = [begin(server.port) for _ in range(400)]
    until(lambda: receiving(server) > before + 300)
    for _ in range(5):
        assert server.score(FLOWER) == (200, [0])
    answered, _, _ = select.select(clients, [], [], 0)
    assert answered == [], "the slow ones were still being waited for"
    for client in clients:
        assert client.recv(4096).startswith(b"HTTP/1.1 408")
        client.close()
    assert server.score(FLOWER) == (200, [0])


@pytest.mark.slow
def test_one_byte_now_and_then(start_server: Any, iris_folder: Path) -> None:
    server = start_server(iris_folder, body_timeout_seconds=1).wait_ready()
    client = begin(server.port)
    client.settimeout(0.2)
    answer, end = b"", time.monotonic() + PATIENCE
    while not answer and time.monotonic() < end:
        with suppress(TimeoutError):
            answer = client.recv(4096)
        if not answer:
            client.sendall(b" ")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"BodyTooSlow"' in answer
    client.close()


@pytest.mark.slow
def test_a_slow_model_is_no_slow_client(start_slow: Any) -> None:
    """A request that computes for longer than a body may take is answered, while another client stalls."""
    server = start_slow(body_timeout_seconds=0.5, timeout_seconds=20)
    idle = server.connect()
    idle.request("GET", "/healthz")
    idle.getresponse().read()
    with ThreadPoolExecutor(1) as threads:
        computing = threads.submit(server.score, [[3.0]])
        stalled = begin(server.port)
        assert computing.result() == (200, [3.0])
    assert stalled.recv(4096).startswith(b"HTTP/1.1 408")
    stalled.close()
    idle.request("GET", "/healthz")
    assert idle.getresponse().status == 200


@pytest.fixture
def pair() -> Iterator[tuple[int, socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        server, _ = listening.accept()
        with client, server:
            yield port, client, server


def test_when_a_connection_is_ended(pair: tuple[int, socket.socket, socket.socket]) -> None:
    """By a clock of the test's own: what counts is how long nothing was answered since something came."""
    port, client, server = pair
    clients = StalledClients(port, lambda: 10.0, lambda: 1)
    assert (clients.look(0), clients.look(100)) == (0, 0), "nothing came yet"
    client.sendall(b"x")
    server.recv(1)
    assert (clients.look(200), clients.look(209)) == (0, 0)
    time.sleep(TICK)
    server.sendall(b"answer")
    client.recv(10)
    assert (clients.look(300), clients.look(311)) == (0, 0)
    time.sleep(TICK)
    client.sendall(b"y")
    server.recv(1)
    assert (clients.look(400), clients.look(409), clients.look(410)) == (0, 0, 1)
    server.settimeout(PATIENCE)
    assert server.recv(1) == b""
    server.sendall(b"408")
    assert client.recv(10) == b"408"


def test_nothing_is_looked_at_while_nothing_is_read(pair: tuple[int, socket.socket, socket.socket]) -> None:
    port, client, _ = pair
    clients = StalledClients(port, lambda: 0.0, lambda: 0)
    client.sendall(b"x")
    assert (clients.look(0), clients.look(100)) == (0, 0)
