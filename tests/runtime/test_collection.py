"""Data collection: what is written of a request, and what is not, with the real app and real files, in both forms.

case                                 expected
every protocol, gRPC too             a record with the request and the answer as JSON, V2's always in the same form
a body that is not JSON              text or base64 beside its content type
an answer that comes later           recorded as one that comes at once
refused and failed requests          recorded with their status; those without a credential are not
headers, keys, a key as an id        nowhere in what is written
sampling                             about so many, and none of them at 0 %
"""

import gzip
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from flask import Flask

from scoring_runtime.collection import documents
from scoring_runtime.collection.collector import Collector, Limits
from scoring_runtime.collection.start import start_collection
from scoring_runtime.frameworks import Model
from scoring_runtime.metrics import Metrics
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from tests.runtime.collected import FORMS, records_in
from tests.runtime.conftest import awaiting
from tests.runtime.rpc_server import INFER, Rpc
from tests.waiting import PATIENCE

FLOWER = [5.1, 3.5, 1.4, 0.2]
AT_ONCE = Limits(object_seconds=0, first_pause=0.01)
KEYS = {"primary": "first-key-0123456789", "secondary": "second-key-0123456789"}


class Collected:
    """An app that collects, and what it has written."""

    def __init__(self, app: Flask, collector: Collector, folder: Path) -> None:
        self.app, self.collector, self._folder = app, collector, folder
        self.client = app.test_client()

    def records(self) -> list[dict[str, Any]]:
        """All that was collected; nothing is after this."""
        self.collector.close(PATIENCE)
        return records_in(self._folder)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """What records are written as."""
    return str(request.param)


@pytest.fixture
def collect(tmp_path: Path, iris_model: Model, form: str) -> Iterator[Callable[..., Collected]]:
    """Make an app that collects into a folder; settings by name, `limits` and `model` too."""
    from scoring_runtime.app import create_app

    made: list[tuple[Serving, Collector]] = []

    def make(model: Model = iris_model, limits: Limits = AT_ONCE, **values: Any) -> Collected:
        folder = tmp_path / "collected"
        given = {
            "auth": "none",
            "framework": "sklearn",
            "model_name": "iris",
            "data_collection_uri": f"file://{folder}",
            "data_collection_format": form,
        }
        settings = Settings.model_validate(given | values)
        metrics = Metrics()
        serving = Serving(limits_of(settings), metrics)
        serving.load(lambda: model)
        collector = start_collection(settings, limits)
        metrics.watch_collection(collector)
        made.append((serving, collector))
        return Collected(create_app(settings, serving, metrics, None, collector), collector, folder)

    yield make
    for serving, collector in made:
        collector.close(PATIENCE)
        serving.close()


def test_a_record(collect: Callable[..., Collected]) -> None:
    made = collect()
    answered = made.client.post("/score", json={"data": [FLOWER]}, headers={"x-request-id": "mine"})
    (record,) = made.records()
    time, milliseconds = record.pop("time"), record.pop("ms")
    assert time.endswith("Z")
    assert milliseconds > 0
    assert record == {
        **{"requestId": "mine", "model": "iris", "modelVersion": "default", "protocol": "azure", "path": "/score"},
        **{"status": 200, "request": {"data": [FLOWER]}, "response": answered.json},
    }


def test_objects_are_named_by_date_pod_time_and_sequence(
    collect: Callable[..., Collected], tmp_path: Path, form: str
) -> None:
    made = collect()
    made.client.post("/score", json={"data": [FLOWER]})
    (record,) = made.records()
    (path,) = tmp_path.rglob(f"*.{form}")
    assert path.parent.name == f"date={record['time'][:10]}"
    assert path.stem.endswith("-000001")
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("path", "body", "protocol"),
    [
        ("/v1/models/iris:predict", {"instances": [FLOWER]}, "v1"),
        ("/invocations", {"inputs": [FLOWER]}, "mlflow"),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": FLOWER}]},
            "v2",
        ),
    ],
)
def test_protocols(collect: Callable[..., Collected], path: str, body: Any, protocol: str) -> None:
    made = collect()
    answered = made.client.post(path, data=json.dumps(body, indent=2), content_type="application/json")
    (record,) = made.records()
    assert (record["protocol"], record["path"], record["status"]) == (protocol, path, 200)
    assert record["request"] == body
    assert record["response"] == answered.json


def test_binary_tensors_are_written_as_their_json(collect: Callable[..., Collected]) -> None:
    made = collect()
    raw = np.array([FLOWER], np.float32).tobytes()
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"id": "7", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answered = made.client.post(
        "/v2/models/iris/infer",
        data=head + raw,
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    assert answered.content_type == "application/octet-stream"
    (record,) = made.records()
    (sent,) = record["request"]["inputs"]
    assert {**sent, "data": None} == {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": None}
    assert sent["data"] == pytest.approx(FLOWER)
    assert record["request"]["id"] == "7"
    (output,) = record["response"]["outputs"]
    assert (output["name"], output["datatype"], output["data"]) == ("predict", "INT64", [0])


def test_a_compressed_answer_is_written_as_it_was(collect: Callable[..., Collected]) -> None:
    made = collect()
    body = {"inputs": [{"name": "x", "shape": [800, 4], "datatype": "FP64", "data": FLOWER * 800}]}
    answered = made.client.post("/v2/models/iris/infer", json=body, headers={"Accept-Encoding": "gzip"})
    (record,) = made.records()
    assert record["response"] == json.loads(gzip.decompress(answered.data))


def test_a_large_tensor_keeps_its_bytes() -> None:
    array = np.arange(documents.MAX_VALUES + 1, dtype="<f4")
    written = documents.tensor_values(array)
    assert np.array_equal(np.frombuffer(b64decode(written["base64"]), "<f4"), array)
    assert "data" in documents.tensor_values(array[:-1])


def test_nan_and_bytes() -> None:
    array = np.array([1.5, np.nan])
    assert json.loads(documents.to_json(documents.tensor_values(array))) == {"data": [1.5, None]}
    pictures = np.array([b"\xff\xd8", b"\xff"], object)
    assert json.loads(documents.to_json(documents.tensor_values(pictures))) == {"data": ["/9g=", "/w=="]}


def test_text_and_images(collect: Callable[..., Collected]) -> None:
    made = collect()
    made.client.post("/invocations", data="a,b,c,d\n1,2,3,4\n", content_type="text/csv")
    made.client.post("/score", data=b"\xff\xd8\xff", content_type="image/jpeg")
    table, image = sorted(made.records(), key=lambda record: record["protocol"], reverse=True)
    assert table["request"] is None
    assert table["requestRaw"] == {"contentType": "text/csv", "text": "a,b,c,d\n1,2,3,4\n"}
    assert image["requestRaw"] == {"contentType": "image/jpeg", "base64": b64encode(b"\xff\xd8\xff").decode()}


def test_refused_requests(collect: Callable[..., Collected]) -> None:
    made = collect()
    made.client.post("/score", data=b'{"data": [[1]', content_type="application/json")
    made.client.post("/score", json={"data": [[1]]})
    made.client.post("/score", data=b"", content_type="application/json")
    broken, short, empty = made.records()
    assert (broken["status"], broken["request"]) == (400, None)
    assert broken["requestRaw"] == {"contentType": "application/json", "text": '{"data": [[1]'}
    assert broken["response"]["error"]["code"] == "InvalidInput"
    assert (short["status"], short["request"]) == (400, {"data": [[1]]})
    assert (empty["status"], empty["request"]) == (400, None)


def test_an_answer_that_comes_later(collect: Callable[..., Collected]) -> None:
    made = collect()
    made.app.wsgi_app = awaiting(made.app.wsgi_app)  # type: ignore[method-assign]
    answered = made.client.post("/score", json={"data": [FLOWER]})
    (record,) = made.records()
    assert (record["status"], record["response"]) == (200, answered.json)


def test_nothing_of_a_credential_is_written(collect: Callable[..., Collected], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, key in KEYS.items():
        (keys / name).write_text(key)
    made = collect(auth="key", keys_dir=keys)
    from scoring_runtime import logs
    from scoring_runtime.app import GATE

    logs.hide(made.app.extensions[GATE].secrets)
    bearer = {"Authorization": f"Bearer {KEYS['primary']}", "Cookie": "session=secret-cookie"}
    assert made.client.post("/score", json={"data": [FLOWER]}, headers=bearer).status_code == 200
    with_key_as_id = bearer | {"x-request-id": KEYS["secondary"]}
    assert made.client.post("/score", json={"data": [FLOWER]}, headers=with_key_as_id).status_code == 200
    assert made.client.post("/score", json={"data": [[0] * 4]}).status_code == 401
    wrong = {"Authorization": "Bearer wrong-key"}
    assert made.client.post("/score", json={"data": [[0] * 4]}, headers=wrong).status_code == 401
    records = made.records()
    assert [record["status"] for record in records] == [200, 200]
    written = str(records)
    for secret in (*KEYS.values(), "secret-cookie", "wrong-key", "uthorization"):
        assert secret not in written
    assert "[hidden]" in {record["requestId"] for record in records}


def test_other_paths_are_not_collected(collect: Callable[..., Collected]) -> None:
    made = collect()
    for path in ("/", "/healthz", "/swagger.json", "/v2/models/iris", "/nothing"):
        made.client.get(path)
    made.client.post("/nothing", json={"data": [FLOWER]})
    assert made.records() == []


def test_below_a_prefix(collect: Callable[..., Collected]) -> None:
    made = collect(path_prefix="/faq")
    made.client.post("/faq/score", json={"data": [FLOWER]})
    assert [record["path"] for record in made.records()] == ["/score"]


def test_sampling(collect: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch) -> None:
    from scoring_runtime.collection import collector

    monkeypatch.setattr(collector.random, "random", np.random.default_rng(0).random)
    made = collect(data_collection_sampling_percent=30)
    for _ in range(200):
        made.client.post("/score", json={"data": [FLOWER]})
    assert 30 <= len(made.records()) <= 90


def test_no_percent(collect: Callable[..., Collected]) -> None:
    made = collect(data_collection_sampling_percent=0)
    for _ in range(20):
        made.client.post("/score", json={"data": [FLOWER]})
    assert made.records() == []


def test_grpc(collect: Callable[..., Collected], iris_model: Model) -> None:
    made = collect()
    rpc = Rpc(iris_model, collector=made.collector)
    try:
        for values in (np.array([FLOWER]), np.array([[1.0, 2.0]])):
            rows = triton.InferInput("x", list(values.shape), "FP64")
            rows.set_data_from_numpy(values)
            if values.shape == (1, 4):
                assert rpc.triton.infer("m", [rows]).as_numpy("predict").tolist() == [0]
            else:
                with pytest.raises(triton.InferenceServerException):
                    rpc.triton.infer("m", [rows])
        rpc.triton.is_server_ready()
    finally:
        rpc.close()
    good, bad = made.records()
    assert (good["protocol"], good["path"], good["status"]) == ("grpc", INFER, 200)
    assert good["request"]["inputs"] == [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": FLOWER}]
    assert good["response"]["outputs"] == [{"name": "predict", "datatype": "INT64", "shape": [1], "data": [0]}]
    assert bad["status"] == 400
    assert "features" in bad["response"]["error"]


def test_grpc_without_a_credential(collect: Callable[..., Collected], iris_model: Model, tmp_path: Path) -> None:
    for name, key in KEYS.items():
        (tmp_path / name).write_text(key)
    made = collect()
    rpc = Rpc(iris_model, collector=made.collector, auth="key", keys_dir=tmp_path)
    try:
        rows = triton.InferInput("x", [1, 4], "FP64")
        rows.set_data_from_numpy(np.array([FLOWER]))
        with pytest.raises(triton.InferenceServerException):
            rpc.triton.infer("m", [rows])
    finally:
        rpc.close()
    assert made.records() == []


def test_metrics(collect: Callable[..., Collected]) -> None:
    made = collect()
    made.client.post("/score", json={"data": [FLOWER]})
    made.records()
    exposed = made.client.get("/metrics").text
    assert "scoring_data_collection_records_total 1.0" in exposed
    assert 'scoring_data_collection_dropped_total{reason="full"} 0.0' in exposed
    assert "scoring_data_collection_failed_writes_total 0.0" in exposed
