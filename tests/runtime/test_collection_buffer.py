"""Data collection: what waits to be written, in bounded memory, whatever the storage does.

case                                 expected
a storage that comes back            gets all that the buffer held; the rest is dropped and counted
a stuck storage                      holds up neither requests nor the end
a huge body, a broken record         dropped and counted, alone
all is written                       nothing is held any more
many at one go                       each its own line, with its own id, of its own day, whatever the bodies look like
"""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_runtime.collection import documents
from scoring_runtime.collection.collector import Collector, Limits
from scoring_runtime.collection.lines import Lines
from scoring_runtime.collection.parquet import Tables
from scoring_runtime.collection.sample import Plain, Sample
from scoring_runtime.logs import JsonFormatter
from scoring_runtime.protocols import ServedModel
from scoring_runtime.replies import Reply, json_reply
from tests.runtime.collected import records_of
from tests.waiting import PATIENCE, until

FLOWER = [5.1, 3.5, 1.4, 0.2]


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


def hidden(ids: bytes) -> bytes:
    return ids.replace(b"a-secret", b"[hidden]")


def note(collector: Collector, number: int, size: int = 10) -> None:
    environ: Any = {"PATH_INFO": "/score", "CONTENT_TYPE": "application/json"}
    collector.begin(environ)
    environ["scoring.collected_body"].append(b'"%b"' % (b"x" * size))
    collector.answered(environ, json_reply(b"[0]"), 0.01, str(number))


@pytest.mark.parametrize("small", [0, 50])
def test_a_storage_that_comes_back_gets_all_that_the_buffer_held(small: int) -> None:
    storage = Closed()
    collector = Collector(
        lines(), storage, 100, "pod", Limits(buffer=20_000, small=small, object_seconds=0, first_pause=0.01)
    )
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
    collector = Collector(lines(), storage, 100, "pod", Limits(small=0, record=1124, object_seconds=0))
    note(collector, 1, size=101)
    note(collector, 2, size=50)
    collector.close(PATIENCE)
    assert (collector.written, collector.dropped["too_large"]) == (1, 1)


@pytest.mark.parametrize("form", [Lines, Tables])
@pytest.mark.parametrize("small", [0, 50])
def test_nothing_is_held_when_all_is_written(form: type[Lines | Tables], small: int) -> None:
    storage = Closed()
    records = form(ServedModel("iris", "v1"), {"/score": "azure"}, False, hidden)
    collector = Collector(records, storage, 100, "pod", Limits(small=small, object=10_000, first_pause=0.01))
    for number in range(300):
        note(collector, number, size=100)
    until(lambda: collector.failures >= 3)
    assert collector._held > 0
    storage.open.set()
    collector.close(PATIENCE)
    assert (collector.written, collector._held, sum(collector.dropped.values())) == (300, 0, 0)
    found = [record for name, content in storage.written.items() for record in records_of(name, content)]
    assert sorted(int(record["requestId"]) for record in found) == list(range(300))


def test_of_many_only_what_cannot_be_written_down_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    storage = Closed()
    storage.open.set()
    records = Tables(ServedModel("iris", "v1"), {"/score": "azure"}, False, hidden)
    collector = Collector(records, storage, 100, "pod", Limits())
    texts = [b'"payload %d"' % number for number in range(9)]
    texts[4] = b'"payload \xff"'
    collector._small.extend((1.7e9, 0.001, "/score", str(number), b"[0]", text) for number, text in enumerate(texts))
    collector.close(PATIENCE)
    assert (collector.written, collector.dropped["unreadable"], collector._held) == (8, 1, 0)
    ((name, content),) = storage.written.items()
    assert sorted(record["requestId"] for record in records_of(name, content)) == list("01235678")
    (logged,) = caplog.records
    assert "payload" not in JsonFormatter().format(logged)


def test_what_is_left_at_the_end_is_counted() -> None:
    storage = Closed()
    collector = Collector(lines(), storage, 100, "pod", Limits(object_seconds=0, first_pause=0.01))
    for number in range(3):
        note(collector, number)
    until(lambda: not collector._small)
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
    collector = Collector(lines(), storage, 100, "pod", Limits(buffer=20_000, small=0, object_seconds=0))
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
    collector = Collector(lines(), storage, 100, "pod", Limits(small=0, object=2000, object_seconds=3600))
    for number in range(40):
        note(collector, number, size=100)
    collector.close(PATIENCE)
    sizes = [len(content) for content in storage.written.values()]
    assert len(sizes) > 3
    assert all(size < 2500 for size in sizes)
    assert [path.rpartition("-")[2] for path in storage.written] == [f"{n:06d}.jsonl" for n in range(1, len(sizes) + 1)]


def test_a_record_that_cannot_be_written_down_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Lines):
        def of_plain(self, samples: Sequence[Plain]) -> bytes:
            raise ZeroDivisionError(f"payload {samples!r}")

        def of_requests(self, samples: Sequence[Sample]) -> bytes:
            raise ZeroDivisionError(f"payload {samples!r}")

    storage = Closed()
    storage.open.set()
    broken = Broken(ServedModel("iris", "v1"), {"/score": "azure"}, False, lambda ids: ids)
    collector = Collector(broken, storage, 100, "pod", Limits())
    note(collector, 1)
    note(collector, 2, size=10_000)
    collector.close(PATIENCE)
    assert collector.dropped["unreadable"] == 2
    assert len(caplog.records) == 2
    assert not any("payload" in JsonFormatter().format(logged) for logged in caplog.records)


def test_lines_of_many() -> None:
    written = Lines(ServedModel("iris", "v1"), {"/score": "azure", "/v2": "v2"}, False, hidden).of_plain(
        [
            (1_772_366_400.125, 0.001234, "/score", "one", b'{"data":\n\r\n[1]}', b"[1]"),
            (1_772_366_400.75, 1.5, "/v2", "an id with spaces", b'{"data": ["\\n"]}', b'{"a": 2}'),
            (1_772_366_401.0, 0.002, "/score", 'quo"ted\\', b"[3]", b"[3]\n"),
            (1_772_366_402.5, 0.002, "/score", "tells a-secret", b"[4]", b"[4]"),
        ]
    )
    found = [json.loads(line) for line in written.splitlines()]
    assert written.count(b"\n") == len(found) == 4
    assert [record["requestId"] for record in found] == ["one", "an id with spaces", 'quo"ted\\', "tells [hidden]"]
    assert [record["request"] for record in found] == [{"data": [1]}, {"data": ["\n"]}, [3], [4]]
    assert [record["response"] for record in found] == [[1], {"a": 2}, [3], [4]]
    assert [record["ms"] for record in found] == [1.234, 1500, 2, 2]
    assert [record["time"][-13:] for record in found] == [
        f"12:00:0{second}Z" for second in ("0.125", "0.750", "1.000", "2.500")
    ]
    assert [record["protocol"] for record in found] == ["azure", "v2", "azure", "azure"]
    assert {(record["model"], record["modelVersion"], record["status"]) for record in found} == {("iris", "v1", 200)}


@given(ids=st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20), min_size=1))
def test_ids_of_many(ids: list[str]) -> None:
    """Whatever ids clients choose, each record has its own, and no other's."""
    written = lines().of_plain([(1e9, 0.001, "/score", one, b"[0]", b"[0]") for one in ids])
    assert [json.loads(line)["requestId"] for line in written.splitlines()] == ids


def test_midnight() -> None:
    storage = Closed()
    storage.open.set()
    collector = Collector(lines(), storage, 100, "pod", Limits())
    midnight = 1_772_409_600.0
    collector._small.extend((midnight + offset, 0.001, "/score", "x", b"[0]", b"[0]") for offset in (-0.001, 0, -1, 1))
    collector.close(PATIENCE)
    counts = {path.partition("/")[0]: content.count(b"\n") for path, content in storage.written.items()}
    assert counts == {"date=2026-03-01": 2, "date=2026-03-02": 2}


def test_what_is_not_what_it_says_is_written_as_bytes() -> None:
    octets = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "9"}
    for body in (b"no json", b"[1]", b'{"outputs": 1}'):
        reply = Reply(200, list(octets.items()), body)
        assert documents.answer_body(reply, True) == (None, "application/octet-stream", body)
    assert documents.request_message(b"\xff\xff") == (None, "application/grpc", b"\xff\xff")
