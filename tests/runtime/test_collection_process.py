"""Data collection by a real server process.

case                                     expected
a drain                                  what was collected is written before the process ends
a restart                                new objects beside the old ones
a dead storage (connection refused)      every request is 200; failed writes and what was lost are counted
several processes                        each writes objects of its own
a wrong address                          the process ends with a reason
Parquet where its package is missing     the process ends with a reason that names the package
a script's own Collectors                their tables below collectors/NAME, joined by the correlation id
"""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.collected import FORMS, objects_in, records_in
from tests.waiting import PATIENCE, until

FLOWER = [5.1, 3.5, 1.4, 0.2]


def metric(server: Any, name: str) -> float:
    exposed = server.request("GET", "/metrics")[2].decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", exposed, re.MULTILINE))


def stop(server: Any) -> None:
    server.terminate()
    assert server.process.wait(PATIENCE) == 0, server.log.read_text()


def test_a_drain_writes_what_is_left_and_a_restart_goes_on(
    start_server: Callable[..., Any], iris_folder: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        server = start_server(iris_folder, data_collection_uri=f"file://{tmp_path}/logs").wait_ready()
        assert server.score([FLOWER])[0] == 200
        stop(server)
        assert len(objects_in(tmp_path)) == number
    assert [record["response"] for record in records_in(tmp_path)] == [[0], [0]]


def test_a_dead_storage_costs_nothing_but_a_counter(
    start_server: Callable[..., Any], iris_folder: Path, tmp_path: Path
) -> None:
    access = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret-of-the-sink"}
    with socket.socket() as taken:
        # Nobody listens there, and nobody else gets the port.
        taken.bind(("127.0.0.1", 0))
        for name, value in {**access, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{taken.getsockname()[1]}"}.items():
            (tmp_path / name).write_text(value)
        collection = {"data_collection_uri": "s3://logs/faq/", "data_collection_credentials_dir": tmp_path}
        server = start_server(iris_folder, **collection).wait_ready()
        connection = server.connect()
        body = json.dumps({"data": [FLOWER], "index": ["x" * 1_000_000]}).encode()
        # More than the buffer holds.
        for _ in range(40):
            connection.request("POST", "/score", body, {"Content-Type": "application/json"})
            answered = connection.getresponse()
            assert answered.status == 200
            answered.read()
        assert metric(server, "scoring_data_collection_dropped_total") > 0
        until(lambda: metric(server, "scoring_data_collection_failed_writes_total") > 0)
        stop(server)
    assert "collected data cannot be written" in server.log.read_text()
    assert "secret-of-the-sink" not in server.log.read_text()


def test_several_processes(start_server: Callable[..., Any], iris_folder: Path, tmp_path: Path) -> None:
    # Arrow is imported before the processes are forked.
    collection = {"data_collection_uri": f"file://{tmp_path}/logs", "data_collection_format": "parquet"}
    server = start_server(iris_folder, processes=2, **collection).wait_ready()
    for _ in range(20):
        assert server.score([FLOWER])[0] == 200
    assert metric(server, "scoring_data_collection_failed_writes_total") == 0
    stop(server)
    assert len(records_in(tmp_path)) == 20


@pytest.mark.parametrize("processes", [1, 2])
def test_a_wrong_address(start_server: Callable[..., Any], iris_folder: Path, processes: int) -> None:
    server = start_server(iris_folder, processes=processes, data_collection_uri="https://example.com/")
    assert server.process.wait(PATIENCE) == 2
    said = json.loads(server.termination_log.read_text())
    assert said["reason"] == "SettingsInvalid"
    assert "write s3://BUCKET/FOLDER/" in said["message"]


def test_parquet_without_its_package(start_server: Callable[..., Any], iris_folder: Path, tmp_path: Path) -> None:
    # It is found before the one that is installed.
    (tmp_path / "pyarrow.py").write_text("raise ModuleNotFoundError(\"No module named 'pyarrow'\")")
    collection = {"data_collection_uri": f"file://{tmp_path}/logs", "data_collection_format": "parquet"}
    server = start_server(iris_folder, import_path=tmp_path, **collection)
    assert server.process.wait(PATIENCE) == 3, server.log.read_text()
    said = json.loads(server.termination_log.read_text())
    assert said["reason"] == "FrameworkMissing"
    for words in ("the Python package pyarrow", 'FRAMEWORKS="sklearn parquet"', "or write jsonl"):
        assert words in said["message"]


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_a_script(
    start_server: Callable[..., Any], script_folder: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    collection = {"data_collection_uri": f"file://{tmp_path}/logs", "data_collection_format": form}
    server = start_server(script_folder("collecting_both"), framework="script", **collection).wait_ready()
    status, _, body = server.request("POST", "/score", b'[{"question": "how?", "length": 4}]')
    assert (status, json.loads(body)) == (200, [0.25])
    stop(server)
    (request,) = [record for record in records_in(tmp_path / "logs") if "collector" not in record]
    assert (request["request"], request["response"]) == ([{"question": "how?", "length": 4}], [0.25])
    (inputs,) = records_in(tmp_path / "logs/collectors/model_inputs")
    (outputs,) = records_in(tmp_path / "logs/collectors/model_outputs")
    assert inputs["data"] == [{"question": "how?", "length": 4}]
    assert outputs["data"] == [{"score": 0.25}]
    assert inputs["correlationId"] == outputs["correlationId"] != ""
    assert "nowhere to send" not in server.log.read_text()
