"""Traces, as a collector gets them: a real server process and a real OTLP receiver.

case                                    expected
nothing set, disabled, another exporter nothing of OpenTelemetry is imported
a request                               a server span with the client's trace, below it receive, queue, predict, respond
errors                                  status and error.type; 4xx is not an error of the server
probes and scrapers                     no span
log lines                               the trace's id
standard variables                      names, attributes, headers, sampler, propagators
a dead or refusing collector            requests are answered as quickly; spans are dropped and counted
"""

import contextlib
import itertools
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.logs import wants_traces
from tests.runtime.traces import PARENT, TRACE, Receiver, metric, spans_of
from tests.waiting import PATIENCE, until

FLOWER = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set OTEL_ variables for servers that are started afterwards."""

    def put(endpoint: str, **more: str) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        for name, value in more.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture(scope="module")
def traced(receiver: Receiver, start_server: Any, iris_folder: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team-key=otlp-s3cret")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        server = start_server(iris_folder, model_name="iris", model_version="v1", path_prefix="/team/iris")
        yield server.wait_ready()


def test_a_request_and_its_parts(receiver: Receiver, traced: Any) -> None:
    before = time.time_ns()
    parent = f"00-{TRACE}-{PARENT}-01"
    status, _, _ = traced.request(
        "POST", "/team/iris/score?code=s3cret", FLOWER, traceparent=parent, User_Agent="test/1", Host="iris.test:81"
    )
    assert status == 200
    spans = spans_of(receiver, TRACE, 5)
    server = spans["POST /team/iris/score"]
    assert (server["parent"], server["kind"], server["status"]) == (PARENT, 2, 0)
    assert server["attributes"] == {
        "http.request.method": "POST",
        "url.path": "/team/iris/score",
        "url.scheme": "http",
        "http.route": "/team/iris/score",
        "http.response.status_code": 200,
        "server.address": "iris.test",
        "server.port": traced.port,
        "client.address": server["attributes"]["client.address"],
        "user_agent.original": "test/1",
        "network.protocol.version": "1.1",
    }
    parts = [spans[name] for name in ("receive", "queue", "predict", "respond")]
    assert all(part["parent"] == server["id"] for part in parts)
    assert spans["predict"]["attributes"] == {
        "scoring.method": "predict", "scoring.batch_rows": 1, "scoring.batch_requests": 1, "scoring.rows": 1
    }  # fmt: skip
    # One after the other, in the server's span; the wall clock is this machine's for both.
    assert before - 1_000_000 <= server["start"] <= server["end"] <= time.time_ns() + 1_000_000
    for part in parts:
        assert server["start"] <= part["start"] <= part["end"] <= server["end"]
    for first, second in itertools.pairwise(parts):
        assert first["end"] <= second["start"]
    assert "s3cret" not in str(receiver.requests)
    assert receiver.resource().items() >= {
        "service.name": "iris", "service.version": "v1", "deployment.environment.name": "test"
    }.items()  # fmt: skip
    assert receiver.headers[0]["x-team-key"] == "otlp-s3cret"
    until(lambda: metric(traced, "scoring_trace_spans_exported_total") >= 5)
    assert metric(traced, "scoring_trace_spans_dropped_total") == 0


def test_log_lines_have_the_traces_id(receiver: Receiver, traced: Any) -> None:
    trace = "1" * 32
    traced.request("POST", "/score", FLOWER, traceparent=f"00-{trace}-{PARENT}-01", x_request_id="traced-1")
    traced.request("GET", "/readyz", traceparent=f"00-{'2' * 32}-{PARENT}-01")

    def line() -> list[dict]:
        return [record for record in traced.records() if record.get("requestId") == "traced-1"]

    until(line)
    assert line()[0]["traceId"] == trace
    assert all("traceId" not in record for record in traced.records() if record["logger"] != "access")


def test_refusals_and_unknown_paths(receiver: Receiver, traced: Any) -> None:
    trace = "3" * 32
    traced.request("POST", "/score", b"{", traceparent=f"00-{trace}-{PARENT}-01")
    span = spans_of(receiver, trace, 1)["POST /team/iris/score"]
    assert (span["status"], span["attributes"]["http.response.status_code"]) == (0, 400)
    assert "error.type" not in span["attributes"]
    trace = "4" * 32
    traced.request("BREW", "/Bearer%20abcdefghijk", traceparent=f"00-{trace}-{PARENT}-01")
    span = spans_of(receiver, trace, 1)["HTTP"]
    assert span["attributes"]["http.request.method"] == "_OTHER"
    assert span["attributes"]["url.path"] == "/Bearer [hidden]"
    assert "http.route" not in span["attributes"]


def test_probes_are_not_traced(receiver: Receiver, traced: Any) -> None:
    trace = "5" * 32
    for path in (
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/load",
        "/ping",
        "/team/iris/readyz",
        "/v2/models/iris/ready",
    ):
        assert traced.request("GET", path, traceparent=f"00-{trace}-{PARENT}-01")[0] == 200
    traced.request("POST", "/score", FLOWER, traceparent=f"00-{trace}-{PARENT}-01")
    spans_of(receiver, trace, 5)


def test_an_unsampled_parent_is_respected(receiver: Receiver, traced: Any) -> None:
    trace, after = "6" * 32, "7" * 32
    traced.request("POST", "/score", FLOWER, traceparent=f"00-{trace}-{PARENT}-00")
    traced.request("POST", "/score", FLOWER, traceparent=f"00-{after}-{PARENT}-01")
    spans_of(receiver, after, 5)
    assert all(span["trace"] != trace for span in receiver.spans())


@pytest.mark.slow
def test_a_failing_model_and_what_is_left_at_the_end(variables: Any, start_slow: Any) -> None:
    """A 5xx is an error; batches name their size; what was not exported yet is exported at the end."""
    receiver = Receiver()
    variables(receiver.url, OTEL_SERVICE_NAME="named", OTEL_BSP_SCHEDULE_DELAY="60000")
    server = start_slow()
    threads = [threading.Thread(target=server.score, args=([[0.3]],))]
    threads[0].start()
    until(lambda: json.loads(server.request("GET", "/load")[2])["busy"] == 1)
    threads += [threading.Thread(target=server.score, args=([[0.0]],)) for _ in range(3)]
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.score([[-1.0]])[0] == 500
    server.terminate()
    assert server.process.wait(PATIENCE) == 0
    spans = receiver.spans()
    receiver.close()
    assert receiver.resource()["service.name"] == "named"
    batches = [span["attributes"] for span in spans if span["name"] == "predict"]
    assert max(batch["scoring.batch_requests"] for batch in batches) > 1
    failed = [span for span in spans if span["attributes"].get("http.response.status_code") == 500]
    assert [(span["status"], span["attributes"]["error.type"]) for span in failed] == [(2, "500")]


@pytest.mark.parametrize(
    "how", ["refusing", pytest.param("silent", marks=pytest.mark.slow), pytest.param("failing", marks=pytest.mark.slow)]
)
def test_a_dead_collector_costs_nothing(how: str, variables: Any, start_server: Any, iris_folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        if how == "failing":
            receiver = Receiver()
            receiver.status = 400
            stack.callback(receiver.close)
            url = receiver.url
        else:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            if how == "silent":
                listener.listen()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        variables(url, OTEL_BSP_MAX_QUEUE_SIZE="16", OTEL_EXPORTER_OTLP_TIMEOUT="1")
        server = start_server(iris_folder).wait_ready()
        connection = server.connect()
        slowest = 0.0
        for _ in range(40):
            began = time.monotonic()
            connection.request("POST", "/score", FLOWER)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"[0]")
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.8
        until(lambda: metric(server, "scoring_trace_spans_dropped_total") > 16)
        assert metric(server, "scoring_trace_spans_exported_total") == 0
        complaints = [record for record in server.records() if record["logger"].startswith("opentelemetry")]
        assert len(complaints) <= 2
        began = time.monotonic()
        server.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_when_there_are_traces(environment: dict[str, str], wanted: bool) -> None:
    assert wants_traces(environment) is wanted


def test_nothing_is_imported_without_traces_and_tokens() -> None:
    program = "import sys, scoring_runtime.server; print([name for name in sys.modules if name in " \
        "('jwt', 'cryptography', 'opentelemetry', 'requests', 'grpc', 'torch', 'pandas')])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
     {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"}]
)  # fmt: skip
def test_what_cannot_be_done_is_no_reason_not_to_serve(
    environment: dict[str, str], variables: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from scoring_runtime.settings import Settings
    from scoring_runtime.tracing.start import start_tracing

    variables("http://127.0.0.1:9", **environment)
    with caplog.at_level(logging.WARNING):
        made = start_tracing(Settings(), environment)
    if made is None:
        assert "no traces: " in caplog.text
    else:
        made.close()
