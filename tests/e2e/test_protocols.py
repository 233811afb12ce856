"""One model, reached in each of its ways: what a service with everything on answers, from outside and inside.

case                                     expected
V2 with binary tensors, by the Ingress   the model's own answer, also below a path
gRPC, by the Service's address           the model's own answer with the key, UNAUTHENTICATED without
metrics and load                         on the pods' own port, and neither by the Ingress nor by the Service
the page, by the Ingress, below a path   whole in one document, and what it shows of the model with the key alone
the page in Chromium                     an answer to the example, by the Ingress, without a request to elsewhere
an ONNX model, boosted trees, a script   their own answers at /score
a converted model                        the original's answers; metadata and status say that it was converted
a TensorFlow or Keras model              its own answers at /score
ONNX, TensorFlow, Keras, MLflow models   their own answers at /score
a Hugging Face model                     its own answers at /score
an entry script                          its own answers at /score
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.target import Target
from tests.e2e import models
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, eventually
from tests.e2e.test_serving import FLOWERS, eventually_answered, once_routed
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e

GRPC_PORT = 8081
METRICS_PORT = 8082


def test_v2_and_grpc(namespace: Namespace, iris: dict, model_files: dict[str, Path], target: Target) -> None:
    import joblib

    namespace.deploy("iris", {**namespace.published(iris, "/team"), "grpc": {"enabled": True}})
    client = namespace.client("iris", "/team")
    eventually_answered(client, FLOWERS)
    own = joblib.load(model_files["iris"] / "model.joblib").predict(FLOWERS)

    assert client.request("GET", "v2/health/ready").status == 200
    np.testing.assert_array_equal(v2_binary(client, np.array(FLOWERS)), own)
    assert client.request("POST", "v2/models/iris/infer", body=b"{}", headers={"Authorization": ""}).status == 401

    with reached(namespace, target, "iris", GRPC_PORT) as address:
        np.testing.assert_array_equal(over_grpc(address, np.array(FLOWERS), str(client.key)), own)

    metrics_stay_inside(namespace, client)
    the_page_comes_below_the_path(client)


def v2_binary(client: IngressClient, rows: Any) -> Any:
    """The first output that V2 answers to `rows`, sent and received as binary tensors by Triton's own encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    given = InferInput("input", list(rows.shape), "FP64")
    given.set_data_from_numpy(rows)
    outputs = [InferRequestedOutput("predict", binary_data=True)]
    body, length = InferenceServerClient.generate_request_body([given], outputs=outputs)
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
    answer = client.request("POST", "v2/models/iris/infer", body=body, headers=headers)
    assert answer.status == 200, answer
    header = int(answer.headers["Inference-Header-Content-Length"])
    return InferenceServerClient.parse_response_body(answer.body, header_length=header).as_numpy("predict")


def over_grpc(address: str, rows: Any, key: str) -> Any:
    """The first output over gRPC, with the key in the metadata; without it nothing is answered."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    given = triton.InferInput("input", list(rows.shape), "FP64")
    given.set_data_from_numpy(rows)
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            client.infer("iris", [given], client_timeout=PATIENCE)
        answer = client.infer("iris", [given], headers={"authorization": f"Bearer {key}"}, client_timeout=PATIENCE)
    return answer.as_numpy("predict")


def metrics_stay_inside(namespace: Namespace, client: IngressClient) -> None:
    for path in ("metrics", "load"):
        assert client.request("GET", path).status == 404
    assert {port["name"] for port in namespace.get("service", "iris")["spec"]["ports"]} == {"http", "grpc"}
    (pod,) = namespace.get("pods")["items"]
    name = f"http://{pod['status']['podIP']}:{METRICS_PORT}"
    script = f"import urllib.request as u; print(u.urlopen('{name}/metrics', timeout=10).read().decode())"
    shown = namespace.run("exec", pod["metadata"]["name"], "-c", "runtime", "--", "python", "-c", script).stdout
    counted = re.findall(r'^scoring_requests_total\{.*code="200".*\} (\d+)', shown, re.MULTILINE)
    assert sum(map(int, counted)) > 0, shown


def the_page_comes_below_the_path(client: IngressClient) -> None:
    page = client.request("GET", "ui", headers={"Authorization": ""})
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    # It brings its style and script along, and asks for the model beside itself, wherever that is.
    assert re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)="(?!data:)""", page.body) == []
    assert "ui/model" in page.body
    assert not re.search(r"""["'`]/ui/model""", page.body)
    assert client.request("GET", "ui/model", headers={"Authorization": ""}).status == 401
    about = client.request("GET", "ui/model").body
    assert (about["name"], about["framework"], about["secured"]) == ("iris", "sklearn", True)
    elsewhere = dataclasses.replace(client, path="/")
    assert elsewhere.request("GET", "ui").status == 404


@pytest.mark.slow
def test_the_page_in_chromium(namespace: Namespace, iris: dict) -> None:
    from playwright.sync_api import expect, sync_playwright

    namespace.deploy("iris", namespace.published(iris, "/team"))
    client = namespace.client("iris", "/team")
    once_routed(lambda: client.request("GET", "ui"))
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is missing: bash devcluster/system-packages.sh browser"
    asked: list[str] = []
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {namespace.host} {client.address}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(ignore_https_errors=True)
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"https://{namespace.host}/team/ui")
        page.get_by_label("Key or token", exact=True).fill(str(client.key))
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("button", name="Send").click()
        answer = page.get_by_role("region", name="Answer", exact=True)
        expect(answer.get_by_role("table")).to_be_visible()
        if folder := os.environ.get("PAGE_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "ingress.png", full_page=True)
        browser.close()
    assert {url.partition("?")[0] for url in asked if not url.startswith("data:")} == {
        f"https://{namespace.host}/team/{path}" for path in ("ui", "ui/model", "score")
    }


@contextlib.contextmanager
def reached(namespace: Namespace, target: Target, service: str, port: int) -> Iterator[str]:
    """HOST:PORT of a Service's port: its cluster address where this machine is a node, else a forwarded one."""
    address = namespace.get("service", service)["spec"]["clusterIP"]
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        command = [target.kubectl, "-n", namespace.name, "port-forward", f"service/{service}", f":{port}"]
        forward = subprocess.Popen(
            list(map(str, command)), env={"KUBECONFIG": str(target.kubeconfig)}, stdout=subprocess.PIPE, text=True
        )
        try:
            assert forward.stdout is not None
            found = re.search(r"127\.0\.0\.1:\d+", forward.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            forward.terminate()
            forward.communicate()
    else:
        yield f"{address}:{port}"


@pytest.mark.slow
def test_an_onnx_model(namespace: Namespace, iris: dict, model_files: dict[str, Path]) -> None:
    import onnxruntime

    model = {**iris["model"], "uri": "s3://models/onnx/", "framework": "onnx"}
    namespace.deploy("onnx", namespace.published({**iris, "model": model}))
    answer = eventually_answered(namespace.client("onnx"), FLOWERS).body
    session = onnxruntime.InferenceSession(str(model_files["onnx"] / "model.onnx"))
    label, probabilities = session.run(None, {session.get_inputs()[0].name: np.array(FLOWERS, np.float32)})
    assert answer["label"] == label.tolist()
    np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosted_trees(namespace: Namespace, iris: dict, model_files: dict[str, Path], library: str) -> None:
    model = {**iris["model"], "uri": f"s3://models/{library}/", "framework": library}
    namespace.deploy(library, namespace.published({**iris, "model": model}))
    answer = eventually_answered(namespace.client(library), FLOWERS).body
    rows = np.array(FLOWERS, np.float32 if library == "xgboost" else np.float64)
    if library == "xgboost":
        import xgboost

        own = xgboost.Booster(model_file=model_files[library] / "model.ubj").inplace_predict(rows)
    else:
        import lightgbm

        own = lightgbm.Booster(model_file=model_files[library] / "model.txt").predict(rows)
    assert own.shape == (3, 3)
    np.testing.assert_allclose(answer, own, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("framework", ["tensorflow", "keras"])
def test_tensorflow_and_keras(namespace: Namespace, iris: dict, framework: str, tmp_path: Path) -> None:
    python = models.python_with("tensorflow")
    folder = models.train(framework, tmp_path / framework, python)
    models.upload(namespace.kubectl, folder, f"s3://models/{framework}/")
    asked = subprocess.run(
        [str(python), "-c", OWN_ANSWERS[framework], str(folder), json.dumps(FLOWERS)], capture_output=True, check=True
    )
    resources = {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
    model = {**iris["model"], "uri": f"s3://models/{framework}/", "framework": framework}
    namespace.apply(framework, namespace.published({"model": model, "resources": resources}))
    namespace.wait_ready(framework)
    answer = eventually_answered(namespace.client(framework), FLOWERS).body
    np.testing.assert_allclose(answer, json.loads(asked.stdout.splitlines()[-1]), rtol=1e-4, atol=1e-6)


# What the library itself answers, asked in its own environment: the model's folder and the rows come as arguments.
OWN_ANSWERS = {
    "tensorflow": """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
rows = tf.constant(json.loads(sys.argv[2]), tf.float32)
print(json.dumps(loaded.signatures["serving_default"](measures=rows)["probabilities"].numpy().tolist()))
""",
    "keras": """
import json, sys
import keras, numpy
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
print(json.dumps(model.predict_on_batch(numpy.array(json.loads(sys.argv[2]), "float32")).tolist()))
""",
}


@pytest.mark.slow
def test_an_mlflow_model(namespace: Namespace, iris: dict, model_files: dict[str, Path], tmp_path: Path) -> None:
    import joblib

    pipeline = joblib.load(model_files["iris"] / "model.joblib")
    models.upload(namespace.kubectl, models.saved_by_mlflow(pipeline, tmp_path / "mlflow"), "s3://models/mlflow/")
    model = {**iris["model"], "uri": "s3://models/mlflow/", "framework": "mlflow"}
    resources = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    namespace.deploy("mlflow", namespace.published({"model": model, "resources": resources}))
    client = namespace.client("mlflow")
    assert eventually_answered(client, FLOWERS).body == pipeline.predict(FLOWERS).tolist()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hugging_face_model(namespace: Namespace, iris: dict, tmp_path: Path) -> None:
    texts = ["a good film", "a very bad film", "bad"]
    folder, own = models.text_classifier(tmp_path / "texts", texts)
    models.upload(namespace.kubectl, folder, "s3://models/huggingface/")
    model = {**iris["model"], "uri": "s3://models/huggingface/", "framework": "huggingface"}
    resources = {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
    namespace.apply("huggingface", namespace.published({"model": model, "resources": resources}))
    namespace.wait_ready("huggingface", timeout=230)
    answer = eventually_answered(namespace.client("huggingface"), texts).body
    assert [row[0]["label"] for row in answer] == [row["label"] for row in own]
    np.testing.assert_allclose([row[0]["probability"] for row in answer], [row["score"] for row in own], atol=1e-4)


@pytest.mark.slow
def test_a_converted_model(namespace: Namespace, iris: dict, model_files: dict[str, Path]) -> None:
    import joblib

    namespace.deploy("fast", namespace.published({**iris, "accelerate": "onnx"}))
    client = namespace.client("fast")
    answer = eventually_answered(client, FLOWERS).body
    assert answer == joblib.load(model_files["iris"] / "model.joblib").predict(FLOWERS).tolist()
    about = client.request("GET", "v2/models/fast").body["parameters"]
    # On a busy node the conversion may seem to be slower; any other reason is a fault.
    assert about["accelerate"] == "onnx" or "times as long" in about["accelerate_reason"], about

    def told() -> dict[str, str] | None:
        (version,) = namespace.get("scoringservice", "fast")["status"]["versions"]
        found: dict[str, str] | None = version.get("acceleration")
        return found

    status = eventually(told, what="the status to say what became of the conversion")
    if about["accelerate"] == "onnx":
        assert status["inUse"] == "onnx"
        assert float(status["timesFaster"]) == about["accelerate_times_faster"]
        assert float(status["largestDifference"]) == about["accelerate_largest_difference"]
    else:
        assert (status["inUse"], status["message"]) == ("original", about["accelerate_reason"])


@pytest.mark.slow
def test_an_entry_script(namespace: Namespace, iris: dict) -> None:
    model = {**iris["model"], "uri": "s3://models/script/", "framework": "script", "entryScript": "score.py"}
    namespace.deploy("script", namespace.published({**iris, "model": model}))
    client = namespace.client("script")

    body, headers = json.dumps({"rows": FLOWERS}).encode(), {"Content-Type": "application/json"}
    rows = once_routed(lambda: client.request("POST", "score", body=body, headers=headers)).body
    assert [row["species"] for row in rows] == ["setosa", "virginica", "versicolor"]
    assert all(0.5 < row["probability"] <= 1 for row in rows)
