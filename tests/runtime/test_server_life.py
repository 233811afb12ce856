"""The life of a server process: start, readiness, drain, end.

case                                         expected
start                                        listens before the model is there; ready after the sample was scored
a bad model, a bad sample, bad settings      the process ends with 3 or 2 and the reason in the termination message
SIGTERM                                      not ready at once, still answering, then finished, status 0
Ctrl-C, a second SIGTERM                     no waiting for load balancers
"""

import json
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE, until


def test_draining(start_slow: Any) -> None:
    """After SIGTERM: not ready at once, new requests still answered, those in progress finished, then status 0."""
    server = start_slow(drain_seconds=0.5, timeout_seconds=20)
    kept_alive = server.connect()
    kept_alive.request("GET", "/healthz")
    assert kept_alive.getresponse().read()
    with ThreadPoolExecutor(2) as threads:
        in_progress = threads.submit(server.score, [[4.0]])
        until(lambda: json.loads(server.request("GET", "/load")[2])["busy"] == 1)
        server.terminate()
        until(lambda: server.request("GET", "/readyz")[0] == 503)
        _, headers, body = server.request("GET", "/readyz")
        assert (json.loads(body), headers["connection"]) == ({"state": "draining"}, "close")
        assert server.request("GET", "/healthz")[0] == 200
        kept_alive.request("POST", "/score", b'{"data": [[0.0]]}')
        late = kept_alive.getresponse()
        assert (late.status, late.read(), late.headers["Connection"]) == (200, b"[0.0]", "close")
        assert in_progress.result() == (200, [4.0])
    assert server.process.wait(PATIENCE) == 0
    assert not server.termination_log.exists()


def test_ctrl_c_does_not_wait(start_server: Any, iris_folder: Path) -> None:
    server = start_server(iris_folder, drain_seconds=600).wait_ready()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0


def test_a_second_sigterm_ends_the_drain(start_server: Any, iris_folder: Path) -> None:
    """Also one that comes while the model is still being loaded."""
    server = start_server(iris_folder, drain_seconds=600)
    until(lambda: answers(server))
    server.terminate()
    # Two signals of one kind that are not handled yet are one.
    until(lambda: b"draining" in server.request("GET", "/readyz")[2])
    server.terminate()
    assert server.process.wait(PATIENCE) == 0


def test_readiness_waits_for_the_sample(start_server: Any, slow_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes((slow_folder / "model.joblib").read_bytes())
    (tmp_path / "sample-request.json").write_text('{"data": [[0.3]]}')
    server = start_server(tmp_path, import_path=slow_folder)
    states = set()

    def state() -> str:
        with suppress(OSError):
            states.add(json.loads(server.request("GET", "/readyz")[2])["state"])
        return next(iter(states - {"loading"}), "")

    until(lambda: state() == "ready")
    assert states == {"loading", "ready"}
    assert "scoring_batch_rows_count 1.0" in server.request("GET", "/metrics")[2].decode()


def answers(server: Any) -> bool:
    try:
        return bool(server.request("GET", "/healthz")[0] == 200)
    except OSError:
        return False


FAILURES = [
    ("bad model", {}, 3, "ModelInvalid", "model.joblib is text"),
    ("bad sample", {}, 3, "SampleFailed", "could not score its own sample-request.json: the model failed"),
    ("no framework", {"framework": ""}, 2, "SettingsInvalid", "SCORING_FRAMEWORK is not set"),
    ("no keys", {"auth": "key", "keys_dir": "/nonexistent"}, 2, "SettingsInvalid", "no key in the files"),
    ("unknown setting", {"max_concurent": 3}, 2, "SettingsInvalid", "unknown setting SCORING_MAX_CONCURENT"),
]


@pytest.mark.parametrize(("case", "values", "status", "reason", "said"), FAILURES, ids=[case[0] for case in FAILURES])
def test_failures_end_the_process_with_a_reason(  # noqa: PLR0917
    start_server: Any, slow_folder: Path, tmp_path: Path, case: str, values: dict, status: int, reason: str, said: str
) -> None:
    (tmp_path / "model.joblib").write_bytes((slow_folder / "model.joblib").read_bytes())
    if case == "bad model":
        (tmp_path / "model.joblib").write_text("just some notes")
    if case == "bad sample":
        (tmp_path / "sample-request.json").write_text('{"data": [[-1.0]]}')
    server = start_server(tmp_path, import_path=slow_folder, **values)
    assert server.process.wait(PATIENCE) == status
    message = json.loads(server.termination_log.read_text())
    assert message.keys() == {"reason", "message"}
    assert (message["reason"], said in message["message"]) == (reason, True), message
    assert server.termination_log.read_text().count("\n") == 0
    assert any(record.get("reason") == reason for record in server.records())


def test_the_port_is_taken(start_server: Any, iris_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start_server(iris_folder, port=taken.getsockname()[1])
        assert server.process.wait(PATIENCE) == 2
        assert "something listens there already" in server.termination_log.read_text()


def test_by_hand(run_command: Callable[..., Any], tmp_path: Path) -> None:
    """Flags win over variables, and everything has a flag."""
    done = run_command("serve", str(tmp_path), "--framework", "sklearn", "--auth", "none", "--port", "no")
    assert (done.returncode, "SCORING_PORT='no'" in done.stderr) == (2, True)
    done = run_command("serve", "--help")
    assert (done.returncode, "--max-body-bytes" in done.stdout, "--model-uri" in done.stdout) == (0, True, False)
    assert run_command().returncode == 2
