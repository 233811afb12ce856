"""Several processes on one address.

case                                      expected
start                                     every process answers; load and metrics are those of all
a process is killed                       it is started anew, and the others answer meanwhile
a bad model, a taken port                 one reason in the termination message, and the exit status of one process
SIGTERM                                   all drain, status 0, the port is free
gRPC                                      every process listens for it; they count together
"""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.runtime.conftest import free_port
from tests.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def server(start_server: Any, iris_folder: Path) -> Any:
    return start_server(iris_folder, processes=2, max_concurrent=8).wait_ready()


def children(server: Any) -> set[int]:
    return {
        int(pid) for pid in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    }


def answering(server: Any) -> set[int]:
    """The processes that hold a connection of ours; each connection is answered by one."""
    found = set()
    for _ in range(60):
        connection = server.connect()
        connection.request("POST", "/score", b'{"data": [[5.1, 3.5, 1.4, 0.2]]}')
        assert json.loads(connection.getresponse().read()) == [0]
        port = connection.sock.getsockname()[1]
        found |= {pid for pid in children(server) if port in remote_ports(pid)}
        connection.close()
    return found


def remote_ports(pid: int) -> set[int]:
    """Ports of the peers of a process' own TCP sockets."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except FileNotFoundError:
            continue
        if match:
            inodes.add(match[1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def test_every_process_answers(server: Any) -> None:
    assert len(children(server)) == 2
    seen: set[int] = set()

    def all_seen() -> bool:
        seen.update(answering(server))
        return seen == children(server)

    until(all_seen)


def test_they_report_as_one(server: Any) -> None:
    """Whichever process answers."""
    for _ in range(10):
        assert json.loads(server.request("GET", "/load")[2]) == {"busy": 0, "queued": 0, "slots": 8}
    counts = set()
    for _ in range(10):
        text = server.request("GET", "/metrics")[2].decode()
        counts.add(re.findall(r'^scoring_requests_total\{[^}]*code="200"[^}]*\} (\S+)', text, re.MULTILINE)[0])
    assert len(counts) == 1
    assert float(counts.pop()) >= 60


def test_a_killed_process_is_started_anew(server: Any) -> None:
    before = children(server)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(children(server) - {victim}) == 2)
    assert server.score([[5.1, 3.5, 1.4, 0.2]]) == (200, [0])


def test_sigterm_ends_all_of_them(server: Any) -> None:
    everyone = children(server)
    server.terminate()
    assert server.process.wait(PATIENCE) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in everyone)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", server.port))


def test_a_bad_model_is_reported_once(start_server: Any, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"no model")
    server = start_server(tmp_path, processes=2)
    assert server.process.wait(PATIENCE) == 3
    assert json.loads(server.termination_log.read_text())["reason"] == "ModelInvalid"


def test_a_sample_that_fails_ends_them_all(start_server: Any, iris_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes((iris_folder / "model.joblib").read_bytes())
    (tmp_path / "sample-request.json").write_text('{"data": [[1]]}')
    server = start_server(tmp_path, processes=2)
    assert server.process.wait(PATIENCE) == 3
    assert json.loads(server.termination_log.read_text())["reason"] == "SampleFailed"


def test_not_with_a_gpu(start_server: Any, iris_folder: Path) -> None:
    server = start_server(iris_folder, processes=2, device="cuda")
    assert server.process.wait(PATIENCE) == 2
    assert "SCORING_PROCESSES=2" in json.loads(server.termination_log.read_text())["message"]


def test_grpc_reaches_a_process(start_server: Any, iris_folder: Path) -> None:
    """All listen on the port for gRPC too, and count together."""
    port = free_port()
    server = start_server(iris_folder, processes=2, grpc_port=port).wait_ready()
    tensor = triton.InferInput("x", (1, 4), "FP64")
    tensor.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2]]))
    for _ in range(20):
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.infer("model", [tensor]).as_numpy("predict").tolist() == [0]
    assert 'scoring_requests_total{code="200",protocol="grpc"} 20.0' in server.request("GET", "/metrics")[2].decode()
