"""The web server as a WSGI application sees it.

case                                      expected
the process' environment                  no part of a request: HTTP_PROXY is not a header
a list, a generator, an empty list        its bytes, joined; the generator is closed
a body that is sent in chunks             read to its end
stopped                                   new connections are refused
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from scoring_runtime.web.listener import Listener, bind
from tests.waiting import PATIENCE, until

closed: list[str] = []


def pieces() -> Iterator[bytes]:
    try:
        yield b"one,"
        yield b"two"
    finally:
        closed.append("pieces")


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    start_response("203 As You Like", [("X-Path", path)])
    if path == "/pieces":
        return pieces()
    if path == "/body":
        return [environ["wsgi.input"].read(), b"!"]
    if path == "/empty":
        return []
    return [json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    os.environ["HTTP_PROXY"] = "http://proxy.invalid"
    bound = bind("127.0.0.1", 0)
    number = bound.getsockname()[1]
    listener = Listener(app, bound, 2)
    del os.environ["HTTP_PROXY"]
    yield number
    listener.stop()


def request(port: int, path: str, **given: Any) -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", path, **given)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers["X-Path"], body


def test_the_environment_stays_outside(port: int) -> None:
    status, _, body = request(port, "/environ?a=b", headers={"X-Mine": "1"})
    environ = json.loads(body)
    assert status == 203
    assert environ.items() >= {"REQUEST_METHOD": "POST", "QUERY_STRING": "a=b", "HTTP_X_MINE": "1"}.items()
    assert not {"HTTP_PROXY", "PATH", "HOME"} & environ.keys()


def test_answers(port: int) -> None:
    assert request(port, "/pieces") == (203, "/pieces", b"one,two")
    until(lambda: closed == ["pieces"])
    assert request(port, "/empty") == (203, "/empty", b"")
    chunks = iter([b"one,", b"two"])
    assert request(port, "/body", body=chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})[2] == (
        b"one,two!"
    )


def test_a_stopped_server_refuses() -> None:
    bound = bind("127.0.0.1", 0)
    address = bound.getsockname()
    listener = Listener(app, bound, 1)
    socket.create_connection(address).close()
    listener.stop()

    def refused() -> bool:
        try:
            socket.create_connection(address, timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    until(refused)
