"""The clients of the soak test: good ones that check every answer, and those that misbehave.

All are coroutines of one thread. Good clients keep their connections and write and read whole messages; that is quick
enough for some thousand requests a second.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
# One request in so many is malformed.
MALFORMED_EVERY = 20
# How much of the answer's beginning is read by those who then go away.
_MID_ANSWER_BYTES = 20
_KEPT_FAILURES = 20


@dataclass(frozen=True)
class Question:
    """A request without its credential, and the answer that the model itself gives."""

    head: str
    body: bytes
    answer: bytes

    def encoded(self, key: str) -> bytes:
        """Return it as it is sent."""
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        return f"{self.head}{authorization}\r\n".encode() + self.body


@dataclass(frozen=True)
class Bad:
    """A request that must be refused, and how; {KEY} and {OLD} in it stand for credentials."""

    name: str
    request: bytes
    status: int


@dataclass
class Tally:
    """What happened so far."""

    good: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    milliseconds: array[float] = field(default_factory=lambda: array("f"))

    def fail(self, what: str) -> None:
        """Note something that must not happen; the first ones are kept for the report."""
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append(what)


class Keys:
    """The credential in force. A new one is used only when the server has had the time to read it."""

    def __init__(self, key: str) -> None:
        self.current = key
        self.outdated = "never-valid"


class Pace:
    """Hands out the moments at which requests leave: `rate` a second, or as fast as possible with 0."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate if rate else 0.0
        self._next = time.perf_counter()

    async def turn(self) -> None:
        """Return when the next request may leave. Time that was lost is not made up for at once."""
        if not self._step:
            return
        now = time.perf_counter()
        self._next = max(self._next + self._step, now - 10 * self._step)
        if self._next > now:
            await asyncio.sleep(self._next - now)


def question(path: str, body: bytes, answer: bytes) -> Question:
    """Return a request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return Question(head, body, answer)


class Connection:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send one request; returns the status and the body. Raises OSError or EOFError when the connection breaks."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            start = lower.index(b"content-length:") + 15
            size = int(lower[start : lower.index(b"\r", start)])
            body = await reader.readexactly(size) if size else b""
        except BaseException:
            self.close()
            raise
        if b"connection: close" in lower:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        """Forget the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def good_client(port: int, questions: Sequence[Question], keys: Keys, pace: Pace, tally: Tally) -> None:
    """Ask and check until cancelled."""
    connection = Connection(port)
    order = random.Random(id(connection))  # noqa: S311
    encoded: dict[str, list[bytes]] = {}
    while True:
        await pace.turn()
        key, number = keys.current, order.randrange(len(questions))
        if key not in encoded:
            encoded = {key: [one.encoded(key) for one in questions]}
        started = time.perf_counter()
        try:
            status, body = await connection.ask(encoded[key][number])
        except (OSError, EOFError) as error:
            tally.fail(f"a good request's connection broke: {type(error).__name__}")
            continue
        tally.milliseconds.append((time.perf_counter() - started) * 1000)
        tally.statuses[str(status)] += 1
        if status == 200:
            tally.good += 1
            if body != questions[number].answer:
                tally.fail(f"a wrong answer: {body[:100]!r} instead of {questions[number].answer[:100]!r}")
        elif status not in (503, 504):
            tally.fail(f"a good request got {status}: {body[:200]!r}")


async def malformed_client(port: int, keys: Keys, bad: Sequence[Bad], pace: Pace, tally: Tally) -> None:
    """Send what must be refused, each kind in turn, until cancelled."""
    connection = Connection(port)
    turn = 0
    while True:
        await pace.turn()
        one = bad[turn % len(bad)]
        turn += 1
        request = one.request.replace(b"{KEY}", keys.current.encode()).replace(b"{OLD}", keys.outdated.encode())
        try:
            status, body = await connection.ask(request)
        except (OSError, EOFError) as error:
            tally.fail(f"malformed ({one.name}): no answer, {type(error).__name__}")
            continue
        tally.statuses[f"malformed {status}"] += 1
        if status not in (one.status, 503, 504):
            tally.fail(f"malformed ({one.name}): {status} instead of {one.status}: {body[:200]!r}")


async def slow_client(port: int, questions: Sequence[Question], keys: Keys, tally: Tally) -> None:
    """Send a request in pieces over some seconds; every other one to its end, and then the answer must be right."""
    whole = True
    while True:
        one = random.choice(questions)  # noqa: S311
        request = one.encoded(keys.current)
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                body_start = len(request) - len(one.body)
                writer.write(request[: body_start + 1])
                rest = request[body_start + 1 :]
                for start in range(0, len(rest) if whole else len(rest) // 2, 4):
                    await asyncio.sleep(0.4)
                    writer.write(rest[start : start + 4])
                if whole:
                    _check_slow(await asyncio.wait_for(reader.read(65536), 30), one, tally)
                else:
                    tally.statuses["slow, left"] += 1
            finally:
                writer.close()
        except OSError as error:
            tally.fail(f"a slow client got no answer: {type(error).__name__}")
        whole = not whole


def _check_slow(answer: bytes, one: Question, tally: Tally) -> None:
    status = answer[9:12]
    tally.statuses[f"slow {status.decode()}"] += 1
    if status == b"200" and not answer.endswith(one.answer):
        tally.fail(f"a slow client got a wrong answer: {answer[-100:]!r}")
    elif status not in (b"200", b"503", b"504"):
        tally.fail(f"a slow client got {answer[:300]!r}")


async def leaving_client(port: int, large: Question, keys: Keys, tally: Tally) -> None:
    """Go away in the middle of the body, or of the answer, with and without a reset, until cancelled."""
    way = 0
    while True:
        way += 1
        await asyncio.sleep(0.1)
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection(HOST, port)
            request = large.encoded(keys.current)
            mid_body, reset = way % 2 == 0, way % 4 < 2
            writer.write(request[: len(request) // 2] if mid_body else request)
            if mid_body:
                await writer.drain()
            else:
                await reader.read(_MID_ANSWER_BYTES)
            if reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
            tally.statuses["left in the body" if mid_body else "left in the answer"] += 1


def malformed(row: list[float], max_body: int) -> list[Bad]:
    """Return one of each kind of bad request."""
    good = json.dumps({"data": [row]}).encode()

    def post(body: bytes, *headers: str, path: str = "/score", key: str = "{KEY}", method: str = "POST") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *headers]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    kind = "Content-Type: application/json"
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 4], "data": row}
    return [
        Bad("not JSON", post(b'{"data": [[1,', kind), 400),
        Bad("ragged rows", post(b'{"data": [[1, 2, 3, 4], [1]]}', kind), 400),
        Bad("too few columns", post(b'{"data": [[1, 2]]}', kind), 400),
        Bad("text for numbers", post(b'{"data": [["a", "b", "c", "d"]]}', kind), 400),
        Bad("an empty body", post(b"", kind), 400),
        Bad("an outdated key", post(good, kind, key="{OLD}"), 401),
        Bad("another content type", post(good, "Content-Type: text/html"), 415),
        Bad("an unknown encoding", post(good, kind, "Content-Encoding: br"), 415),
        Bad("a broken encoding", post(good, kind, "Content-Encoding: gzip"), 400),
        Bad("no such path", post(good, kind, path="/nope"), 404),
        Bad("the wrong method", post(b"", path="/score", method="GET"), 405),
        Bad("too large", post(b" " * (max_body + 1), kind), 413),
        Bad("V2, shape and data differ", post(json.dumps({"inputs": [tensor]}).encode(), kind, path=V2), 400),
        Bad("an id that is too long", post(good, kind, f"x-request-id: {'x' * 101}"), 431),
    ]


V2 = "/v2/models/model/infer"
