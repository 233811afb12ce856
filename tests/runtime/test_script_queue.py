"""Scripts share the queue of all models: slots, time limits, batches; and streams take turns with other requests.

case                                   expected
many clients                           one call at a time
all slots busy, a call that is slow    503, 504, and the server goes on
batching.maxDelay                      delays no script that takes one item at a time
run_batch                              is given what waits; one bad item fails alone
a stream that nobody reads             holds up nobody; a client that leaves ends its generator
a stream that fails                    ends; the last JSON line says so, and the log where
what a script prints                   is in the log at once
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.waiting import PATIENCE, until

AppOf = Callable[..., Flask]


def post(app: Flask, data: str) -> tuple[int, Any]:
    response = app.test_client().post("/score", data=data)
    return response.status_code, response.get_json()


def test_one_call_at_a_time(script_app: AppOf) -> None:
    app = script_app("slow")
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: post(app, "0.02"), range(8))) == {(200, 1)}


def test_no_delay_for_a_script_that_takes_one_item(script_app: AppOf) -> None:
    app = script_app("slow", batch_max_delay_milliseconds=30_000)
    started = time.monotonic()
    assert post(app, "0") == (200, 1)
    assert time.monotonic() - started < 10


def test_overload_and_timeouts(start_server: Callable[..., Any], script_folder: Any) -> None:
    server = start_server(
        script_folder("slow"), framework="script", max_concurrent=1, max_queue_wait_milliseconds=50, timeout_seconds=0.5
    ).wait_ready()
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(server.request, "POST", "/score", b"4")
        until(lambda: json.loads(server.request("GET", "/load")[2])["busy"] == 1)
        status, headers, body = server.request("POST", "/score", b"0")
        assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (503, "1", "Overloaded")
        status, headers, body = busy.result()
        assert (status, json.loads(body)["error"]["code"]) == (504, "TimedOut")
    # The call cannot be interrupted; what comes after it is answered as ever.
    until(lambda: server.request("POST", "/score", b"0")[0] == 200)
    metrics = server.request("GET", "/metrics")[2].decode()
    assert re.search(r'^scoring_requests_total{code="504".*} 1\.0$', metrics, re.MULTILINE)


def test_batches(script_app: AppOf) -> None:
    app = script_app("batched", batch_max_size=4)

    def script() -> Any:
        return sys.modules["score"]

    def queued() -> int:
        load = app.test_client().get("/load").get_json()
        return int(load["busy"] + load["queued"])

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(post, app, "wait")
        until(lambda: script().sizes == [1], "the model to be held by the first")
        others = [threads.submit(post, app, text) for text in ("a", "bad", "c", "d")]
        until(lambda: queued() == 5)
        script().go_on.set()
        assert first.result() == (200, "WAIT")
        failed = {"message": "An unexpected error occurred in scoring script. Check the logs for more info."}
        assert sorted(map(str, (other.result() for other in others))) == sorted(
            map(str, [(200, "A"), (200, "C"), (200, "D"), (500, failed)])
        )
    sizes = post(app, "sizes?")[1]
    assert sizes[:2] == [1, 4]
    # The batch of four was halved until the bad one was alone.
    assert sorted(sizes[2:-1]) == [1, 1, 2, 2]


def test_a_batch_answered_with_too_few_results(script_app: AppOf, caplog: pytest.LogCaptureFixture) -> None:
    assert post(script_app("batched"), "few")[0] == 500
    assert "run_batch returned 0 results for 1 items; it must return a list as long" in caplog.text


@pytest.fixture(scope="module")
def streaming(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("streaming")
    (folder / "score.py").write_bytes((Path(__file__).parent / "scripts" / "stream_text.py").read_bytes())
    return start_server(folder, framework="script", max_concurrent=1, max_queue_wait_milliseconds=200).wait_ready()


def test_a_stream_over_the_network(streaming: Any) -> None:
    status, headers, body = streaming.request("POST", "/score", b"one two three")
    assert (status, body) == (200, b"one\ntwo\nthree\n")
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers


def test_a_stream_that_breaks_off(streaming: Any) -> None:
    assert streaming.request("POST", "/score", b"a b fails c")[2] == b"a\nb\n"
    assert streaming.request("POST", "/score", b"objects fails")[2].splitlines() == [
        b'{"word":"objects"}',
        b'{"message":"An unexpected error occurred in scoring script. Check the logs for more info."}',
    ]
    failures = [record for record in streaming.records() if record["level"] == "error"]
    assert {record["message"] for record in failures} == {"a stream of the script raised ValueError"}
    assert "the payload" not in streaming.log.read_text()
    assert streaming.request("POST", "/score", b"still here")[0] == 200


def test_a_stream_that_nobody_reads(streaming: Any) -> None:
    """It fills the network's buffers and waits; the one slot is free; when the client leaves, the generator ends."""
    long = "x" * 10_000 + " "
    connection = streaming.connect()
    connection.request("POST", "/score", (long * 900).encode())
    response = connection.getresponse()
    assert response.read(5) == b"xxxxx"
    for _ in range(3):
        assert streaming.request("POST", "/score", b"short")[2] == b"short\n"
    response.close()
    connection.close()
    until(lambda: any(len(text) > 1000 for text in json.loads(streaming.request("POST", "/score", b"closed?")[2])))


def test_prints_are_in_the_log_at_once(start_server: Callable[..., Any], script_folder: Any) -> None:
    server = start_server(script_folder("environment", "score_rules"), framework="script").wait_ready()
    assert server.request("POST", "/score", b"ab")[0] == 200
    until(lambda: "\nscoring ab\n" in server.log.read_text())


@pytest.mark.slow
def test_a_stream_is_finished_while_draining(script_folder: Any, start_server: Callable[..., Any]) -> None:
    server = start_server(script_folder("stream_text"), framework="script").wait_ready()
    connection = server.connect()
    words = "x" * 10_000 + " "
    connection.request("POST", "/score", (words * 500).encode())
    response = connection.getresponse()
    assert response.read(1) == b"x"
    server.terminate()
    assert len(response.read()) == 500 * 10_001 - 1
    assert server.process.wait(PATIENCE) == 0


def test_threads_of_a_script_do_not_mix_streams(script_app: AppOf) -> None:
    app = script_app("stream_text")
    started = threading.Barrier(6)

    def read(number: int) -> str:
        started.wait()
        return app.test_client().post("/score", data=f"{number} " * 20).text

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(read, range(6))) == [f"{number}\n" * 20 for number in range(6)]
