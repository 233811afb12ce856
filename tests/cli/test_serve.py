"""kubectl scoring serve: the pods' own server, started by hand, on 127.0.0.1 and without keys."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import joblib
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression

from scoring_cli import serving
from scoring_cli.main import main
from tests.waiting import PATIENCE


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ask(url: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError as error:
        return 0, str(error)


@pytest.mark.process
def test_a_model_is_served_and_the_server_ends_when_told(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), tmp_path / "model.joblib")
    port = _free_port()
    command = [sys.executable, "-m", "scoring_cli", "serve", str(tmp_path), "--framework", "sklearn"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCORING_")}
    environment["SCORING_DRAIN_SECONDS"] = "0"
    with subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            deadline = time.monotonic() + PATIENCE
            while _ask(f"http://127.0.0.1:{port}/readyz")[0] != 200:
                assert server.poll() is None, server.stderr and server.stderr.read()
                assert time.monotonic() < deadline, "the server did not become ready"
                time.sleep(0.05)
            status, answer = _ask(f"http://127.0.0.1:{port}/score", {"data": [[3.0]]})
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=PATIENCE) == 0
        finally:
            server.kill()
    assert status == 200
    assert answer == [pytest.approx(6.0)]


def test_a_missing_model_server_is_named_with_its_remedy(
    cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    result = cli.invoke(main, ["serve", str(tmp_path), "--framework", "sklearn"])
    assert result.exit_code == 1
    assert "pip install 'scoring-operator[runtime,sklearn]'" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--framework", "sklearn"], "does not exist"),
        (["."], "--framework"),
        ([".", "--framework", "sklearn", "--port", "0"], "--port"),
    ],
)
def test_a_wrong_call_ends_with_2(cli: CliRunner, arguments: list[str], said: str) -> None:
    result = cli.invoke(main, ["serve", *arguments])
    assert result.exit_code == 2
    assert said in result.output
