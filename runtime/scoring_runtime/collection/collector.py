"""Collects a sample of requests and answers: chosen when they come, written down behind them.

A request that is chosen costs about a microsecond in its own thread. One thread makes records of many at one go, puts
records together into objects, and writes these; what it cannot write waits, in bounded memory, and is tried again. Then
the newest is dropped and counted. No request waits for any of it, and none fails by it.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from scoring_runtime.collection.records import Records
from scoring_runtime.collection.sample import BODY, HEADER_LENGTH, Frame, Plain, Sample
from scoring_runtime.collection.storage import Storage
from scoring_runtime.replies import Reply

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FULL, TOO_LARGE, STOPPED, UNREADABLE = "full", "too_large", "stopped", "unreadable"
REASONS = (FULL, TOO_LARGE, STOPPED, UNREADABLE)
"""Why a record was dropped."""
# What a record takes beside its bodies.
_RECORD_BYTES = 1024
_SMALL_BYTES = 4096
_TICK_SECONDS = 0.1
# When many come, they are written down before what they refer to has left the processor's caches.
_BUSY, _BUSY_TICK_SECONDS = 64, 0.02
# So many records are written at one go, the few where each takes longer, and of these no more bytes than a part of an
# object; then whoever waits for the interpreter has it.
_SLICE, _FEW, _PART = 128, 32, 4
_SLICE_PAUSE_SECONDS = 0.0005
_COMPLAINT_SECONDS = 60.0
_DAY_SECONDS = 86_400
_logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Limits:
    """How much is held, and when it is written. Sizes in bytes, times in seconds."""

    buffer: int = 24 << 20
    """All that waits, as requests or as records; what comes when it is full is dropped."""
    small: int = 2048
    """So many small ones (4 KiB, thus 8 MiB) may wait to be written down beside that: counting costs more than
    noting."""
    record: int = 8 << 20
    """The largest record, by its request and answer; larger ones are dropped."""
    object: int = 4 << 20
    """An object is written when its records have this size (before they are compressed, if they are) …"""
    object_seconds: float = 60.0
    """… or this age."""
    first_pause: float = 1.0
    """How long a failed write waits for its next try; each time twice as long …"""
    longest_pause: float = 30.0
    """… up to this."""

    @property
    def waiting(self) -> int:
        """The most that waits altogether."""
        return self.buffer + self.small * _SMALL_BYTES


class _Object:
    """Records that will be written together."""

    def __init__(self, path: str, due: float) -> None:
        self.path = path
        self.due = due
        self.pieces: list[Any] = []
        self.content = b""
        """What is written, once nothing is added any more."""
        self.records, self.size = 0, 0


class Collector:
    """Collects `percent` of the requests into `storage`, in objects whose names have `source` (the pod) in them.

    `written` counts records, `dropped` those that were lost by reason, `failures` writes that failed.
    """

    def __init__(self, records: Records[Any], storage: Storage, percent: int, source: str, limits: Limits) -> None:
        self._records = records
        self._is_plain = records.is_plain
        self._storage = storage
        self._share = percent / 100
        self._source = source
        self._limits = limits
        self._waiting: deque[Sample | Frame] = deque()
        self._small: deque[Plain] = deque()
        self._most_small = limits.small
        self._lock = threading.Lock()
        self._held = 0
        self._open: dict[str, _Object] = {}
        self._closed: deque[_Object] = deque()
        self._sequence = 0
        self._pause, self._next_try, self._next_complaint = limits.first_pause, 0.0, 0.0
        self._ends = math.inf
        self._stopping = threading.Event()
        self.written, self.failures = 0, 0
        self.dropped = dict.fromkeys(REASONS, 0)
        self._thread = threading.Thread(target=self._run, name="data-collection", daemon=True)
        self._thread.start()

    def begin(self, environ: WSGIEnvironment) -> None:
        """Choose a request, or not, before its body is read."""
        if random.random() < self._share:  # noqa: S311 (a sample, not a secret)
            environ[BODY] = []

    def answered(self, environ: WSGIEnvironment, reply: Reply, seconds: float, request_id: str) -> None:
        """Note a request's answer, if it was chosen and its body was read."""
        bodies = environ.get(BODY)
        if not bodies:
            return
        body, answer = bodies[0], reply.body
        started, size, path = time.time() - seconds, len(body) + len(answer) + _RECORD_BYTES, environ["PATH_INFO"]
        if size <= _SMALL_BYTES and self._is_plain(path, environ, reply) and len(self._small) < self._most_small:
            self._small.append((started, seconds, path, request_id, body, answer))
            return
        kind, header_length = environ.get("CONTENT_TYPE") or "", environ.get(HEADER_LENGTH)
        self._add(Sample(started, size, seconds, path, request_id, kind, header_length, body, reply))

    def chooses(self, correlation_id: str) -> bool:
        """Whether the tables with this id are collected: all of them or none, so that they can be joined."""
        return random.Random(correlation_id).random() < self._share  # noqa: S311 (a sample, not a secret)

    def frame(self, name: str, correlation_id: str, rows: bytes) -> None:
        """Note a script's own table, whose rows are JSON."""
        self._add(Frame(time.time(), len(rows) + _RECORD_BYTES, name, correlation_id, rows))

    def close(self, seconds: float) -> None:
        """Write what is left, for at most `seconds`; what remains then is dropped."""
        self._ends = time.monotonic() + seconds
        self._stopping.set()
        self._thread.join(seconds)
        with self._lock:
            objects = [*self._open.values(), *self._closed]
            left = len(self._waiting) + len(self._small) + sum(one.records for one in objects)
            self.dropped[STOPPED] += left
        if left:
            _logger.warning("the end came before %d collected records were written", left)

    def _add(self, item: Sample | Frame) -> None:
        size = item.size
        with self._lock:
            if size > self._limits.record:
                self.dropped[TOO_LARGE] += 1
            elif self._held + size > self._limits.buffer:
                self.dropped[FULL] += 1
            else:
                self._held += size
                self._waiting.append(item)

    def _run(self) -> None:
        tick = _TICK_SECONDS
        while not self._stopping.wait(tick):
            tick = _TICK_SECONDS if len(self._small) < _BUSY else _BUSY_TICK_SECONDS
            self._step(everything=False)
        self._pause, self._next_try = self._limits.first_pause, 0.0
        self._step(everything=True)
        while self._closed and time.monotonic() < self._ends:
            time.sleep(min(_TICK_SECONDS, self._limits.first_pause))
            self._step(everything=True)

    def _step(self, everything: bool) -> None:
        """Make records of what waits, and write the objects that are due."""
        for _ in range(-(-len(self._small) // _SLICE)):
            self._write_small()
            time.sleep(_SLICE_PAUSE_SECONDS)
        left = len(self._waiting)
        while left > 0:
            left -= self._write_few(left)
            time.sleep(_SLICE_PAUSE_SECONDS)
        now = time.monotonic()
        for folder, one in list(self._open.items()):
            if everything or now >= one.due:
                self._finish(folder)
        while self._closed and time.monotonic() >= self._next_try:
            self._write(self._closed[0])

    def _write_small(self) -> None:
        """Make records of the small ones that wait, up to a slice of them."""
        samples = [self._small.popleft() for _ in range(min(_SLICE, len(self._small)))]
        if self._held >= self._limits.buffer:
            with self._lock:
                self.dropped[FULL] += len(samples)
            return
        days = {int(sample[0]) // _DAY_SECONDS for sample in samples}
        for day in days:
            of_day = samples if len(days) == 1 else [one for one in samples if int(one[0]) // _DAY_SECONDS == day]
            self._write_down(self._records.of_plain, of_day, _partition("", day))

    def _write_few(self, most: int) -> int:
        """Make records of some others that wait, at least one and up to `most`; return how many."""
        items: list[Sample | Frame] = []
        size = 0
        while len(items) < min(most, _FEW) and size < self._limits.object // _PART:
            items.append(self._waiting.popleft())
            size += items[-1].size
        samples: dict[str, list[Sample]] = {}
        frames: dict[str, list[Frame]] = {}
        for item in items:
            day = int(item.started) // _DAY_SECONDS
            if isinstance(item, Frame):
                folder = _partition(f"collectors/{_fit_for_a_path(item.name)}/", day)
                frames.setdefault(folder, []).append(item)
            else:
                samples.setdefault(_partition("", day), []).append(item)
        for folder, of_folder in samples.items():
            self._write_down(self._records.of_requests, of_folder, folder)
        for folder, tables in frames.items():
            self._write_down(self._records.of_frames, tables, folder)
        with self._lock:
            self._held -= size
        return len(items)

    def _write_down(self, make: Callable[[Sequence[_Item]], Any], items: Sequence[_Item], folder: str) -> None:
        """Make records of items and put them into the object of a folder. What cannot be written down is lost alone."""
        try:
            piece = make(items)
        except Exception as error:
            if len(items) > 1:
                middle = len(items) // 2
                self._write_down(make, items[:middle], folder)
                self._write_down(make, items[middle:], folder)
            else:
                self._lose(error, 1)
            return
        one = self._open.get(folder)
        if one is None:
            one = self._open[folder] = self._new_object(folder)
        size = self._records.size(piece)
        with self._lock:
            self._held += size
        one.pieces.append(piece)
        one.records += len(items)
        one.size += size
        if one.size >= self._limits.object:
            self._finish(folder)

    def _finish(self, folder: str) -> None:
        """Make of an object what will be written of it; nothing is added to it any more."""
        one = self._open[folder]
        size = one.size
        try:
            one.content = self._records.joined(one.pieces)
        except Exception as error:
            del self._open[folder]
            self._lose(error, one.records)
        else:
            one.pieces, one.size = [], len(one.content)
            self._closed.append(self._open.pop(folder))
            size -= one.size
        with self._lock:
            self._held -= size

    def _lose(self, error: Exception, records: int) -> None:
        # Without its message, which may quote the payload.
        _logger.error("a record could not be written down: %s", type(error).__name__, exc_info=error)
        with self._lock:
            self.dropped[UNREADABLE] += records

    def _new_object(self, folder: str) -> _Object:
        self._sequence += 1
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = f"{folder}/{self._source}-{moment}-{self._sequence:06d}{self._records.ending}"
        return _Object(path, time.monotonic() + self._limits.object_seconds)

    def _write(self, one: _Object) -> None:
        try:
            self._storage.write(one.path, one.content)
        except Exception as error:
            self.failures += 1
            self._next_try = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, self._limits.longest_pause)
            self._complain(error)
            return
        self._closed.popleft()
        with self._lock:
            self._held -= one.size
        self.written += one.records
        if self._next_complaint:
            _logger.info("collected data can be written again")
        self._pause, self._next_try, self._next_complaint = self._limits.first_pause, 0.0, 0.0

    def _complain(self, error: Exception) -> None:
        """Say once a minute that nothing can be written."""
        if time.monotonic() >= self._next_complaint:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            _logger.warning("collected data cannot be written, and is tried again: %s: %s", type(error).__name__, said)
            self._next_complaint = time.monotonic() + _COMPLAINT_SECONDS


@lru_cache(maxsize=4)
def _partition(folder: str, day: int) -> str:
    """Return the folder of a day, which is counted since 1970."""
    return f"{folder}date={datetime.fromtimestamp(day * _DAY_SECONDS, UTC):%Y-%m-%d}"


def _fit_for_a_path(name: str) -> str:
    """Return a name without what means something in a path; empty names and dots get an underscore."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)[:64]
    return kept if kept.strip(".") else "_"
