"""A server in front of a store of models that can misbehave, and that writes down what it is asked."""

from __future__ import annotations

import http.client
import http.server
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

LARGE_BYTES = 100_000
"""Only answers of at least this size break off."""


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    """Path and query, as they were sent."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def start(self) -> int:
        """Where the bytes begin that are asked for."""
        wanted = self.headers.get("x-ms-range") or self.headers.get("range") or "bytes=0-"
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    @property
    def end(self) -> int | None:
        """The last byte that is asked for."""
        wanted = self.headers.get("x-ms-range") or self.headers.get("range") or "bytes=0-"
        return int(wanted.partition("-")[2]) if wanted.partition("-")[2] else None


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Behind(Protocol):
    """What stands behind a gate."""

    def answer(self, asked: Asked) -> Answer: ...


@dataclass
class Always:
    """One answer, whatever is asked."""

    said: Answer

    def answer(self, _: Asked) -> Answer:
        return self.said


@dataclass
class Forward:
    """A server elsewhere."""

    base: str

    def answer(self, asked: Asked) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=60)
        try:
            headers = {name: value for name, value in asked.headers.items() if name != "connection"}
            connection.request(asked.method, asked.target, asked.body or None, headers)
            response = connection.getresponse()
            kept = {n: v for n, v in response.getheaders() if n.lower() not in ("transfer-encoding", "connection")}
            return Answer(response.status, response.read(), kept)
        finally:
            connection.close()


@dataclass
class Gate:
    behind: Behind
    base: str = ""
    breaks: int = 0
    """How many large answers break off in the middle."""
    failures: int = 0
    """How many answers are 503."""
    denied: int = 0
    """The status of all answers, while it is not 0."""
    token: str | None = None
    """The only bearer token that passes."""
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.failures:
            self.failures -= 1
            return Answer(503)
        if self.denied:
            return Answer(self.denied)
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401)
        return part(asked, self.behind.answer(asked))


def part(asked: Asked, whole: Answer) -> Answer:
    """The range that is asked for, of an answer whose server leaves that to the gate (it says so)."""
    if whole.status != 200 or "x-ranges" not in whole.headers:
        return whole
    headers = {name: value for name, value in whole.headers.items() if name != "x-ranges"}
    if "range" not in asked.headers and "x-ms-range" not in asked.headers:
        return Answer(200, whole.body, headers)
    end = min(len(whole.body) - 1 if asked.end is None else asked.end, len(whole.body) - 1)
    if asked.start > end:
        return Answer(416, b"", {"Content-Range": f"bytes */{len(whole.body)}"})
    headers["Content-Range"] = f"bytes {asked.start}-{end}/{len(whole.body)}"
    return Answer(206, whole.body[asked.start : end + 1], headers)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.gate.answer(Asked(self.command, self.path, headers, body))
        # Decided before anybody can have the answer and ask again.
        breaks = self.command != "HEAD" and self.gate.breaks > 0 and len(answer.body) >= LARGE_BYTES
        self.gate.breaks -= breaks
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "server", "date"):
                self.send_header(name, value)
        # What stands for the length of the body in the answer to HEAD.
        told = {name.lower(): value for name, value in answer.headers.items()}.get("content-length")
        self.send_header("Content-Length", told if self.command == "HEAD" and told else str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if breaks:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def gate_before(behind: Behind, tls: ssl.SSLContext | None = None) -> Iterator[Gate]:
    """Open a gate on a port of 127.0.0.1; https if there is a certificate."""
    gate = Gate(behind)
    handler = type("GateHandler", (_Handler,), {"gate": gate})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    gate.base = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
