"""Traces of calls over gRPC: a real server process, a real client and a real OTLP receiver.

case                             expected
a call                           a server span with the client's trace, below it receive, queue, predict, respond
refused, unknown method          the status; what the client did wrong is no error of the server
a client that has left           CANCELLED
probes                           no span
log lines                        the trace's id
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import grpc
import numpy as np
import pytest

from scoring_runtime.rpc import messages
from tests.runtime.conftest import free_port
from tests.runtime.traces import PARENT, Receiver, spans_of
from tests.waiting import until

SERVICE = "inference.GRPCInferenceService"
FLOWER = np.array([[5.1, 3.5, 1.4, 0.2]])


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tracing(receiver: Receiver) -> Iterator[None]:
    """What servers find in their environment that are started afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def traced(tracing: None, start_server: Any, iris_folder: Any, port: int) -> Any:
    return start_server(iris_folder, model_name="iris", grpc_port=port).wait_ready()


@pytest.fixture(scope="module")
def channel(traced: Any, port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made


def request(model: str = "iris", rows: np.ndarray = FLOWER) -> bytes:
    message = messages.ModelInferRequest(model_name=model, raw_input_contents=[rows.tobytes()])
    message.inputs.add(name="x", datatype="FP64", shape=rows.shape)
    return message.SerializeToString()


def parent(trace: str) -> tuple[str, str]:
    return "traceparent", f"00-{trace}-{PARENT}-01"


def test_a_call_and_its_parts(receiver: Receiver, traced: Any, channel: grpc.Channel, port: int) -> None:
    trace = "a" * 32
    metadata = [parent(trace), ("x-request-id", "traced-call"), ("authorization", "Bearer s3cret")]
    channel.unary_unary(f"/{SERVICE}/ModelInfer")(request(), timeout=20, metadata=metadata)
    spans = spans_of(receiver, trace, 5)
    server = spans[f"{SERVICE}/ModelInfer"]
    assert (server["parent"], server["kind"], server["status"]) == (PARENT, 2, 0)
    assert server["attributes"] == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/ModelInfer",
        "rpc.response.status_code": "OK",
        "server.port": port,
        "client.address": "127.0.0.1",
    }
    parts = [spans[name] for name in ("receive", "queue", "predict", "respond")]
    assert all(part["parent"] == server["id"] for part in parts)
    moments = [server["start"], *(at for part in parts for at in (part["start"], part["end"])), server["end"]]
    assert moments == sorted(moments)
    assert "s3cret" not in str(receiver.requests)

    def line() -> list[dict[str, Any]]:
        return [record for record in traced.records() if record.get("requestId") == "traced-call"]

    until(line)
    assert line()[0]["traceId"] == trace


class Refusal(NamedTuple):
    method: str
    model: str
    name: str
    code: str
    servers_fault: bool


INFER = f"{SERVICE}/ModelInfer"


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(INFER, "nobody", INFER, "NOT_FOUND", False),
        Refusal(f"{SERVICE}/Nothing", "iris", "grpc", "UNIMPLEMENTED", True),
        Refusal("any.Thing/s3cret", "iris", "grpc", "UNIMPLEMENTED", True),
    ],
    ids=lambda refusal: f"{refusal.method} of {refusal.model}",
)
def test_what_is_refused(receiver: Receiver, channel: grpc.Channel, refusal: Refusal) -> None:
    trace = uuid4().hex
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(f"/{refusal.method}")(request(refusal.model), timeout=20, metadata=[parent(trace)])
    assert raised.value.code().name == refusal.code
    span = spans_of(receiver, trace, 1)[refusal.name]
    assert span["attributes"]["rpc.response.status_code"] == refusal.code
    assert span["attributes"]["rpc.method"] == ("_OTHER" if refusal.name == "grpc" else refusal.name)
    assert (span["status"] == 2) is refusal.servers_fault
    assert span["attributes"].get("error.type") == (refusal.code if refusal.servers_fault else None)
    assert "s3cret" not in str(receiver.requests)


def test_probes_have_no_spans(receiver: Receiver, traced: Any, channel: grpc.Channel) -> None:
    probe, after = "b" * 32, "c" * 32
    for method in (f"{SERVICE}/ServerLive", f"{SERVICE}/ServerReady", "grpc.health.v1.Health/Check"):
        channel.unary_unary(f"/{method}")(b"", timeout=20, metadata=[parent(probe)])
    channel.unary_unary(f"/{SERVICE}/ModelInfer")(request(), timeout=20, metadata=[parent(after)])
    spans_of(receiver, after, 5)
    assert [span for span in receiver.spans() if span["trace"] == probe] == []


def test_a_client_that_has_left(receiver: Receiver, tracing: None, start_slow: Any) -> None:
    port, trace = free_port(), "d" * 32
    server = start_slow(grpc_port=port)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer").future(
            request("model", np.array([[1.0]])), timeout=20, metadata=[parent(trace)]
        )
        until(lambda: b'"busy":1' in server.request("GET", "/load")[2].replace(b" ", b""))
        call.cancel()
        span = spans_of(receiver, trace, 5)[f"{SERVICE}/ModelInfer"]
    assert (span["status"], span["attributes"]["rpc.response.status_code"]) == (0, "CANCELLED")
