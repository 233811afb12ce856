"""What can be seen of a running server: logs, metrics, the termination message, and what it knows of its container."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from scoring_runtime import termination
from scoring_runtime.cgroups import cpu_limit, memory_limit_bytes, usable_cores
from scoring_runtime.errors import ModelNotFound
from scoring_runtime.frameworks import Model
from scoring_runtime.logs import AccessLog, JsonFormatter


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
    assert after['scoring_requests_total{"code": "200"}'] == 1
    assert after['scoring_requests_total{"code": "400"}'] == 1
    assert after['scoring_requests_total{"code": "405"}'] == 1
    assert after['scoring_errors_total{"code": "InvalidInput"}'] == 1
    assert after["scoring_request_seconds_count{}"] == 3
    assert after["scoring_batch_rows_sum{}"] == 2
    assert after["scoring_batch_rows_count{}"] == after["scoring_queue_wait_seconds_count{}"] == 1
    assert after["scoring_predict_seconds_sum{}"] > 0
    assert before["scoring_request_seconds_count{}"] == 0
    assert (after["scoring_slots{}"], after["scoring_busy{}"], after["scoring_queued{}"]) == (3, 0, 0)
    assert (after["scoring_ready{}"], after["scoring_model_warnings{}"]) == (1, 0)
    assert after['scoring_model_info{"framework": "sklearn", "name": "iris", "version": "v1"}'] == 1


def values(client: Any) -> dict[str, float]:
    return {
        f"{sample.name}{json.dumps(dict(sorted(sample.labels.items())))}": sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


@given(st.text(max_size=6000))
def test_a_termination_message_is_one_line_that_kubernetes_keeps_whole(message: str) -> None:
    line = termination.termination_message(ModelNotFound(message))
    assert len(line) <= 4096
    assert b"\n" not in line
    found = json.loads(line)
    assert found.keys() == {"reason", "message"}
    assert found["message"].rstrip("…") in " ".join(message.split()) + "…"


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
