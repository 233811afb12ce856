"""The gRPC server around the methods: who may call, for how long, and what is written down.

case                                         expected
keys                                         UNAUTHENTICATED without; health needs none, metadata follows the setting
deadlines                                    what has not started when they pass is never scored
overload                                     UNAVAILABLE, with the time to hold back
health, watched                              SERVING, NOT_SERVING, SERVICE_UNKNOWN, and each change
slow clients                                 hold no thread; are ended after the time for a message
request ids, metrics, logs                   as over HTTP
a real process                               drains; refuses a taken port; without the port knows no gRPC
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from scoring_runtime.frameworks import Model
from scoring_runtime.logs import AccessLog
from scoring_runtime.rpc import messages
from scoring_runtime.tensors import Tensors
from tests.runtime.conftest import free_port
from tests.runtime.rpc_server import INFER, Identity, Rpc
from tests.waiting import PATIENCE, until

FLOWER = np.array([[5.1, 3.5, 1.4, 0.2]])


def request(rows: np.ndarray = FLOWER) -> Any:
    message = messages.ModelInferRequest(model_name="m", raw_input_contents=[rows.tobytes()])
    message.inputs.add(name="x", datatype="FP64", shape=rows.shape)
    return message


class Gated(Identity):
    """Scores when it is let, and remembers every row."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.rows: list[float] = []

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        self.rows += inputs.arrays[0][:, 0].tolist()
        return Tensors(inputs.arrays, ("only",))


@pytest.fixture
def start() -> Iterator[Callable[..., Rpc]]:
    started: list[Rpc] = []

    def make(model: Model, **values: Any) -> Rpc:
        started.append(Rpc(model, **values))
        return started[-1]

    yield make
    for rpc in started:
        rpc.close()


def test_keys(start: Callable[..., Rpc], tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    lines: list[bytes] = []
    log = AccessLog(write=lines.append)
    rpc = start(Identity(), auth="key", keys_dir=tmp_path, access_log=log)
    error = rpc.error(request())
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert dict(error.trailing_metadata())["www-authenticate"].startswith("Bearer")
    wrong = rpc.error(request(), metadata=[("authorization", "Bearer another")])
    assert wrong.code() == grpc.StatusCode.UNAUTHENTICATED
    answer = rpc.infer(request(), metadata=[("authorization", "Bearer the-key")])
    assert answer.raw_output_contents == [FLOWER.tobytes()]
    assert rpc.triton.is_server_live()
    assert rpc.triton.is_server_ready()
    assert rpc.triton.is_model_ready("m")
    assert health(rpc) == "SERVING"
    with pytest.raises(triton.InferenceServerException, match="needs the"):
        rpc.triton.get_model_metadata("m")
    assert rpc.triton.get_model_metadata("m", headers={"authorization": "Bearer the-key"}).name == "m"
    log.close()
    assert b"the-key" not in b"".join(lines)


def test_metadata_is_open_where_the_setting_says_so(start: Callable[..., Rpc], tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("the-key")
    rpc = start(Identity(), auth="key", keys_dir=tmp_path, docs_auth="none")
    assert rpc.triton.get_model_metadata("m").platform == "test"


def test_what_has_not_started_at_the_deadline_is_never_scored(start: Callable[..., Rpc]) -> None:
    model = Gated()
    rpc = start(model, batch_max_size=1)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(rpc.infer, request(FLOWER))
        assert model.entered.wait(PATIENCE)
        late = rpc.error(request(FLOWER + 1), timeout=0.2)
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # The client's clock is a little ahead of the server's.
        until(lambda: rpc.serving.load_report().queued + rpc.serving.load_report().busy == 1)
        model.gate.set()
        assert first.result().raw_output_contents == [FLOWER.tobytes()]
    assert rpc.infer(request(FLOWER + 2)).raw_output_contents == [(FLOWER + 2).tobytes()]
    assert model.rows == [5.1, 7.1]


def test_overload(start: Callable[..., Rpc]) -> None:
    model = Gated()
    rpc = start(model, max_concurrent=1, max_queue_wait_milliseconds=50)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(rpc.infer, request())
        until(lambda: rpc.serving.load_report().busy == 1)
        error = rpc.error(request())
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        trailers = dict(error.trailing_metadata())
        assert (trailers["grpc-retry-pushback-ms"], trailers["scoring-error-code"]) == ("1000", "Overloaded")
        model.gate.set()
        first.result()


def test_timeouts(start: Callable[..., Rpc]) -> None:
    model = Gated()
    rpc = start(model, timeout_seconds=0.2)
    assert rpc.error(request()).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    model.gate.set()


def test_request_ids_metrics_and_logs(start: Callable[..., Rpc]) -> None:
    lines: list[bytes] = []
    log = AccessLog(write=lines.append)
    rpc = start(Identity(), access_log=log)
    _, call = rpc.call.with_call(request().SerializeToString(), metadata=[("x-request-id", "the-id")])
    assert dict(call.trailing_metadata())["x-request-id"] == "the-id"
    assert rpc.error(request(), metadata=[("x-request-id", "x" * 101)]).code() == grpc.StatusCode.INVALID_ARGUMENT
    rpc.triton.is_server_live()
    log.close()
    records = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert [(record["path"], record["status"]) for record in records] == [(INFER, 200), (INFER, 431)]
    assert records[0]["requestId"] == "the-id"
    assert records[1]["error"] == "RequestIdTooLong"
    exposition = rpc.metrics.exposition().decode()
    assert 'scoring_requests_total{code="200",protocol="grpc"} 1.0' in exposition
    assert 'scoring_errors_total{code="RequestIdTooLong"} 1.0' in exposition


def health(rpc: Rpc, service: str = "") -> str:
    check = rpc.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=messages.HealthCheckRequest.SerializeToString,
        response_deserializer=messages.HealthCheckResponse.FromString,
    )
    return status_name(check(messages.HealthCheckRequest(service=service), timeout=PATIENCE))


def status_name(response: Any) -> str:
    return str(response.ServingStatus.Name(response.status))


def watch(rpc: Rpc, service: str) -> Any:
    stream = rpc.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=messages.HealthCheckRequest.SerializeToString,
        response_deserializer=messages.HealthCheckResponse.FromString,
    )
    return stream(messages.HealthCheckRequest(service=service), timeout=PATIENCE)


def test_health(start: Callable[..., Rpc]) -> None:
    rpc = start(Identity())
    watched = watch(rpc, "inference.GRPCInferenceService")
    unknown = watch(rpc, "another.Service")
    assert status_name(next(watched)) == "SERVING"
    assert status_name(next(unknown)) == "SERVICE_UNKNOWN"
    assert health(rpc) == health(rpc, "inference.GRPCInferenceService") == "SERVING"
    with pytest.raises(grpc.RpcError) as raised:
        health(rpc, "another.Service")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    rpc.serving.drain()
    assert status_name(next(watched)) == "NOT_SERVING"
    assert health(rpc) == "NOT_SERVING"
    assert not rpc.triton.is_server_ready()
    watched.cancel()
    unknown.cancel()


def slow_call(port: int) -> socket.socket:
    """Begin a call by hand, and send a part of its message only (RFC 9113: HTTP/2; RFC 7541: its headers)."""

    def header(name: str, value: str) -> bytes:
        return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    names = {":method": "POST", ":scheme": "http", ":path": INFER, ":authority": "x", "te": "trailers"}
    headers = b"".join(header(*pair) for pair in {**names, "content-type": "application/grpc"}.items())
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(4, 1, 0))
    client.sendall(frame(1, 4, 1, headers) + frame(0, 0, 1, b"\0\0\0\0\x64half"))
    return client


def test_slow_clients_hold_no_thread_and_are_ended(start: Callable[..., Rpc]) -> None:
    """More of them than there are threads."""
    rpc = start(Identity(), max_concurrent=1, body_timeout_seconds=1)
    clients = [slow_call(rpc.port) for _ in range(400)]
    assert rpc.infer(request()).raw_output_contents == [FLOWER.tobytes()]
    assert health(rpc) == "SERVING"
    for client in clients:
        received = b""
        while b"grpc-status" not in received:
            received += client.recv(4096)
        assert b"the message did not come within 1 s" in received
        client.close()
    assert rpc.infer(request()).raw_output_contents == [FLOWER.tobytes()]


def test_draining(start_slow: Any) -> None:
    """A real process: it drains, what is in progress is answered, and calls after that are refused."""
    port = free_port()
    server = start_slow(grpc_port=port, timeout_seconds=20, drain_seconds=0.5)
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = triton.InferInput("x", (1, 1), "FP64")
    tensor.set_data_from_numpy(np.array([[4.0]]))
    with ThreadPoolExecutor(1) as threads:
        in_progress = threads.submit(client.infer, "model", [tensor])
        until(lambda: json.loads(server.request("GET", "/load")[2])["busy"] == 1)
        server.terminate()
        until(lambda: not client.is_server_ready())
        assert client.is_server_live()
        assert in_progress.result().as_numpy("predict").tolist() == [4.0]
    client.close()
    assert server.process.wait(PATIENCE) == 0


def test_the_port_is_taken(start_server: Any, iris_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start_server(iris_folder, grpc_port=taken.getsockname()[1])
        assert server.process.wait(PATIENCE) == 2
        assert "cannot listen for gRPC on 127.0.0.1:" in server.termination_log.read_text()


def test_without_the_port_nothing_of_grpc_is_in_memory(start_server: Any, iris_folder: Path) -> None:
    def libraries(server: Any) -> set[str]:
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        return {name for name in ("cygrpc", "google/_upb") if name in maps}

    without = start_server(iris_folder).wait_ready()
    assert without.score(FLOWER.tolist()) == (200, [0])
    assert libraries(without) == set()
    assert libraries(start_server(iris_folder, grpc_port=free_port()).wait_ready()) == {"cygrpc", "google/_upb"}
