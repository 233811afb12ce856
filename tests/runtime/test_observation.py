"""What can be seen of a running server: logs, metrics, the termination message, and what it knows of its container."""

import json
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scoring_runtime import logs
from scoring_runtime import metrics as metrics_module
from scoring_runtime.batching import Limits
from scoring_runtime.errors import ModelNotFound
from scoring_runtime.frameworks import Model
from scoring_runtime.logs import AccessLog, JsonFormatter
from scoring_runtime.metrics import Metrics
from scoring_runtime.process import termination
from scoring_runtime.process.cgroups import cpu_limit, memory_limit_bytes, usable_cores
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings


def record(message: str, *args: object, **extra: Any) -> dict:
    made = logging.getLogger("x").makeRecord("x", logging.INFO, "f.py", 1, message, args, extra.pop("exc_info", None))
    vars(made).update(extra)
    line = JsonFormatter().format(made)
    assert "\n" not in line
    return json.loads(line)


def test_a_record_is_one_line_of_json() -> None:
    found = record("line one\nline %s", "two", seconds=1.5, path=Path("/x"))
    assert (
        found.items()
        >= {
            "level": "info",
            "logger": "x",
            "message": "line one\nline two",
            "seconds": 1.5,
            "path": "/x",
        }.items()
    )
    assert found["time"].endswith("Z")


def test_an_exception_is_logged_without_its_message() -> None:
    try:
        int("the payload")
    except ValueError:
        found = record("it failed", exc_info=sys.exc_info())
    assert found["exception"] == "ValueError"
    assert "test_observation.py:" in found["frames"][0]
    assert "payload" not in json.dumps(found)


def test_the_access_log() -> None:
    lines: list[bytes] = []
    log = AccessLog(write=lines.append)
    for status in range(200, 300):
        log.request({"requestId": "a\nb", "status": status})
    log.close()
    written = [orjson.loads(line) for line in b"".join(lines).splitlines()]
    assert [line["status"] for line in written] == list(range(200, 300))
    assert written[0].items() >= {"logger": "access", "requestId": "a\nb"}.items()


def test_metrics_count_what_happens(make_app: Any, iris_model: Model) -> None:
    app = make_app(iris_model, model_name="iris", model_version="v1", max_concurrent=3)
    client = app.test_client()
    before = values(client)
    client.post("/score", json={"data": [[5.1, 3.5, 1.4, 0.2]] * 2})
    client.post("/score", json={"data": [[1]]})
    client.get("/score")
    client.get("/healthz")
    after = values(client)
    assert after['scoring_requests_total{"code": "200", "protocol": "azure"}'] == 1
    assert after['scoring_requests_total{"code": "400", "protocol": "azure"}'] == 1
    assert after['scoring_requests_total{"code": "405", "protocol": "azure"}'] == 1
    assert after['scoring_errors_total{"code": "InvalidInput"}'] == 1
    assert after["scoring_request_seconds_count{}"] == 3
    assert after["scoring_batch_rows_sum{}"] == 2
    assert after["scoring_batch_rows_count{}"] == after["scoring_queue_wait_seconds_count{}"] == 1
    assert after["scoring_predict_seconds_sum{}"] > 0
    assert before["scoring_request_seconds_count{}"] == 0
    assert (after["scoring_slots{}"], after["scoring_busy{}"], after["scoring_queued{}"]) == (3, 0, 0)
    assert (after["scoring_ready{}"], after["scoring_model_warnings{}"]) == (1, 0)
    assert after['scoring_model_info{"framework": "sklearn", "name": "iris", "version": "v1"}'] == 1


def test_every_request_is_counted_however_many_there_are() -> None:
    """Notes become numbers at many places at once; none is lost and none counts twice."""
    metrics = Metrics()

    def work() -> None:
        for number in range(3000):
            status, code = (200, "") if number % 3 else (503, "Overloaded")
            metrics.request_done(status, code, 0.001 * (number % 4), "v2")
            if number % 100 == 0:
                metrics.exposition()
            if number % 10 == 0:
                metrics.batch_done(number % 5 + 1, [0.002] * (number % 5 + 1), 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = exposed(metrics.exposition().decode())
    assert found['scoring_requests_total{"code": "200", "protocol": "v2"}'] == 8000
    assert found['scoring_requests_total{"code": "503", "protocol": "v2"}'] == 4000
    assert found['scoring_errors_total{"code": "Overloaded"}'] == 4000
    # le means less or equal: 0 and exactly 0.001 are in the first bucket.
    assert found['scoring_request_seconds_bucket{"le": "0.001"}'] == 6000
    assert found['scoring_request_seconds_bucket{"le": "0.0025"}'] == 9000
    assert found['scoring_request_seconds_bucket{"le": "+Inf"}'] == found["scoring_request_seconds_count{}"] == 12000
    assert found["scoring_request_seconds_sum{}"] == pytest.approx(12000 * 0.0015)
    assert found["scoring_batch_rows_count{}"] == 1200
    assert found["scoring_queue_wait_seconds_count{}"] == found["scoring_batch_rows_sum{}"]
    assert len(metrics._requests) == len(metrics._batches) == 0


def test_notes_take_no_memory_when_nobody_scrapes() -> None:
    metrics = Metrics()
    for _ in range(5000):
        metrics.request_done(200, "", 0.001)
        metrics.batch_done(1, [0.1], 0.1)
    assert len(metrics._requests) < 1000
    assert len(metrics._batches) < 1000


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_is_that_of_the_reference(seconds: list[float]) -> None:
    """The same values in prometheus_client's own histogram give the same lines."""
    registry = CollectorRegistry()
    reference = Histogram("scoring_request_seconds", "x", buckets=metrics_module._SECONDS, registry=registry)
    metrics = Metrics()
    for value in seconds:
        reference.observe(value)
        metrics.request_done(200, "", value)
    ours = exposed(metrics.exposition().decode())
    for name, value in exposed(generate_latest(registry).decode()).items():
        if "_created" not in name:
            assert ours[name] == pytest.approx(value)


def test_gpu_memory() -> None:
    """Absent without a GPU in use, also when PyTorch is loaded."""
    metrics = Metrics()
    metrics.watch(Serving(Limits()), Settings())
    assert "gpu" not in metrics.exposition().decode()
    pytest.importorskip("torch")
    assert ("gpu" in metrics.exposition().decode()) == sys.modules["torch"].cuda.is_initialized()


class Cuda:
    """The part of torch.cuda that is read, for a machine without a GPU."""

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 2

    @staticmethod
    def memory_allocated(device: int) -> int:
        return 100 + device

    @staticmethod
    def memory_reserved(device: int) -> int:
        return 200 + device

    @staticmethod
    def get_device_properties(device: int) -> Any:
        return SimpleNamespace(total_memory=300 + device)


def test_gpu_memory_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda))
    metrics = Metrics()
    metrics.watch(Serving(Limits()), Settings())
    found = exposed(metrics.exposition().decode())
    assert found['scoring_gpu_memory_allocated_bytes{"device": "1"}'] == 101
    assert found['scoring_gpu_memory_reserved_bytes{"device": "0"}'] == 200
    assert found['scoring_gpu_memory_total_bytes{"device": "1"}'] == 301


def values(client: Any) -> dict[str, float]:
    return exposed(client.get("/metrics").text)


def exposed(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{json.dumps(dict(sorted(sample.labels.items())))}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.text(max_size=6000))
def test_a_termination_message_is_one_line_that_kubernetes_keeps_whole(message: str) -> None:
    line = termination.termination_message(ModelNotFound(message))
    assert len(line) <= 4096
    assert b"\n" not in line
    found = json.loads(line)
    assert found.keys() == {"reason", "message"}
    assert found["message"].rstrip("…") in " ".join(logs.scrubbed(message).split()) + "…"


def test_a_termination_message_has_no_credentials() -> None:
    line = termination.termination_message(
        ModelNotFound("404 on https://reader:pass@host/m?sig=abc%2F and Bearer abcdef")
    )
    assert json.loads(line)["message"] == "404 on https://[hidden]@host/m?sig=[hidden] and Bearer [hidden]"


def test_a_termination_log_that_cannot_be_written_does_not_hide_the_error(tmp_path: Path) -> None:
    termination.report(ModelNotFound("gone"), tmp_path / "no" / "log")
    termination.report(ModelNotFound("gone"), None)


V2 = {"memory.max": "1073741824\n", "cpu.max": "150000 100000\n"}
V1 = {
    "memory/memory.limit_in_bytes": "1073741824\n",
    "cpu/cpu.cfs_quota_us": "150000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize(
    ("files", "memory", "cpu"),
    [
        (V2, 1 << 30, 1.5),
        (V1, 1 << 30, 1.5),
        ({"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None),
        ({**V1, "memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n"}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_both_cgroup_versions(tmp_path: Path, files: dict, memory: int | None, cpu: float | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert (memory_limit_bytes(tmp_path), cpu_limit(tmp_path)) == (memory, cpu)


@pytest.mark.parametrize(("limit", "cores"), [("10000 100000", 1), ("100000 100000", 1), ("9900000 100000", None)])
def test_usable_cores_are_whole_and_not_more_than_there_are(tmp_path: Path, limit: str, cores: int | None) -> None:
    import os

    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))
