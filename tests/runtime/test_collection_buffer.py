"""Data collection: what waits to be written, in bounded memory, whatever the storage does.

case                                 expected
a storage that comes back            gets all that the buffer held; the rest is dropped and counted
a stuck storage                      holds up neither requests nor the end
a huge body, a broken record         dropped and counted
"""

import json
import threading
from typing import Any

import pytest

from scoring_runtime.collection import documents
from scoring_runtime.collection.collector import Collector, Limits
from scoring_runtime.collection.lines import Lines
from scoring_runtime.collection.sample import Sample
from scoring_runtime.logs import JsonFormatter
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import Reply, json_reply
from tests.waiting import PATIENCE, until

FLOWER = [5.1, 3.5, 1.4, 0.2]
AT_ONCE = Limits(object_seconds=0, first_pause=0.01)
KEYS = {"primary": "first-key-0123456789", "secondary": "second-key-0123456789"}


class Closed:
    """A storage that takes nothing until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.written: dict[str, bytes] = {}
        self.tries = 0

    def write(self, path: str, content: bytes) -> None:
        self.tries += 1
        if not self.open.is_set():
            raise ConnectionRefusedError("nobody listens")
        self.written[path] = content


def lines() -> Lines:
    return Lines(ServedModel("iris", "v1"), {"/score": "azure"}, False, lambda ids: ids)


def note(collector: Collector, number: int, size: int = 10) -> None:
    environ: Any = {"PATH_INFO": "/score", "CONTENT_TYPE": "application/json"}
    collector.begin(environ)
    environ["scoring.collected_body"].append(b'"%b"' % (b"x" * size))
    collector.answered(environ, json_reply(b"[0]"), 0.01, str(number))


def test_a_storage_that_comes_back_gets_all_that_the_buffer_held() -> None:
    storage = Closed()
    collector = Collector(lines(), storage, 100, "pod", Limits(buffer=20_000, object_seconds=0, first_pause=0.01))
    for number in range(100):
        note(collector, number)
    until(lambda: collector.failures >= 3)
    for number in range(100, 500):
        note(collector, number)
    dropped = collector.dropped["full"]
    assert 0 < dropped < 500
    storage.open.set()
    until(lambda: collector.written + dropped == 500)
    for number in range(500, 510):
        note(collector, number)
    collector.close(PATIENCE)
    found = [json.loads(line) for content in storage.written.values() for line in content.splitlines()]
    ids = [int(record["requestId"]) for record in found]
    assert len(ids) == 510 - dropped
    assert ids == sorted(ids)
    assert ids[:10] == list(range(10))
    assert ids[-10:] == list(range(500, 510))
    assert collector.dropped == {"full": dropped, "too_large": 0, "stopped": 0, "unreadable": 0}


def test_a_body_that_is_too_large_is_dropped() -> None:
    storage = Closed()
    storage.open.set()
    collector = Collector(lines(), storage, 100, "pod", Limits(record=1124, object_seconds=0))
    note(collector, 1, size=101)
    note(collector, 2, size=50)
    collector.close(PATIENCE)
    assert (collector.written, collector.dropped["too_large"]) == (1, 1)


def test_what_is_left_at_the_end_is_counted() -> None:
    storage = Closed()
    collector = Collector(lines(), storage, 100, "pod", Limits(object_seconds=0, first_pause=0.01))
    for number in range(3):
        note(collector, number)
    until(lambda: not collector._waiting)
    before = collector.failures
    until(lambda: collector.failures > before + 1)
    collector.close(0.1)
    assert (collector.written, collector.dropped["stopped"]) == (0, 3)


class Stuck:
    """A storage that never comes back from a write until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def write(self, path: str, content: bytes) -> None:
        self.entered.set()
        assert self.go.wait(PATIENCE)


def test_a_stuck_storage_holds_up_neither_requests_nor_the_end() -> None:
    storage = Stuck()
    collector = Collector(lines(), storage, 100, "pod", Limits(buffer=20_000, object_seconds=0))
    note(collector, 0)
    assert storage.entered.wait(PATIENCE)
    for number in range(1, 101):
        note(collector, number)
    assert collector.dropped["full"] > 0
    collector.close(0.1)
    assert collector.dropped["full"] + collector.dropped["stopped"] == 101
    storage.go.set()


def test_objects_are_rolled_by_size() -> None:
    storage = Closed()
    storage.open.set()
    collector = Collector(lines(), storage, 100, "pod", Limits(object=2000, object_seconds=3600))
    for number in range(40):
        note(collector, number, size=100)
    collector.close(PATIENCE)
    sizes = [len(content) for content in storage.written.values()]
    assert len(sizes) > 3
    assert all(size < 2500 for size in sizes)
    assert [path.rpartition("-")[2] for path in storage.written] == [f"{n:06d}.jsonl" for n in range(1, len(sizes) + 1)]


def test_a_record_that_cannot_be_written_down_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Lines):
        def of_request(self, sample: Sample, request_id: bytes) -> bytes:
            raise ZeroDivisionError(f"payload {sample.body!r}")

    storage = Closed()
    storage.open.set()
    broken = Broken(ServedModel("iris", "v1"), {}, False, lambda ids: ids)
    collector = Collector(broken, storage, 100, "pod", Limits())
    note(collector, 1)
    collector.close(PATIENCE)
    assert collector.dropped["unreadable"] == 1
    (logged,) = caplog.records
    assert "payload" not in JsonFormatter().format(logged)


def test_what_is_not_what_it_says_is_written_as_bytes() -> None:
    octets = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "9"}
    for body in (b"no json", b"[1]", b'{"outputs": 1}'):
        reply = Reply(200, list(octets.items()), body)
        fields = json.loads(b"{" + documents.answer_field(reply, True) + b"}")
        assert fields["responseRaw"]["text"] == body.decode()
    fields = json.loads(b"{" + documents.message_field(documents.REQUEST, b"\xff\xff") + b"}")
    assert fields["requestRaw"]["base64"] == "//8="
