"""Every framework: a model trained here, served from its own image, answers what its library answers.

What is compared is 1,000 random rows (of texts 20), sent once as V2's binary tensors and once as JSON to /score.

case                                       expected
scikit-learn, PyTorch (both forms), ONNX   classes and probabilities of the library, in every run of the tests
XGBoost, LightGBM                          the booster's own
TensorFlow, Keras                          the signature's, the network's, each asked in an environment of its own
MLflow                                     the pipeline's that was saved
Hugging Face                               labels and probabilities of transformers' own pipeline
an entry script                            what its model says; with a schema through V2 as well
a converted model                          the original's; metadata and status say that it was converted
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e import models
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, eventually
from tests.e2e.comparison import RANDOM_ROWS, Answers, assert_equal, compare, score, v2_binary
from tests.e2e.test_serving import once_routed

pytestmark = pytest.mark.e2e


def own_of_sklearn(folder: Path, rows: Any) -> Answers:
    import joblib

    pipeline = joblib.load(folder / "model.joblib")
    return {"predict": pipeline.predict(rows), "predict_proba": pipeline.predict_proba(rows)}


def own_of_torchscript(folder: Path, rows: Any) -> Answers:
    import torch

    answer = torch.jit.load(str(folder / "model.pt")).eval()(torch.tensor(rows))
    return {"predict": {"output-0": answer.detach().numpy()}}


def own_of_export(folder: Path, rows: Any) -> Answers:
    import torch

    answer = torch.export.load(folder / "model.pt2").module()(torch.tensor(rows))
    return {"predict": {"output-0": answer.detach().numpy()}}


def own_of_onnx(folder: Path, rows: Any) -> Answers:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    label, probabilities = session.run(None, {session.get_inputs()[0].name: rows})
    return {"predict": {"label": label, "probabilities": probabilities}}


def own_of_xgboost(folder: Path, rows: Any) -> Answers:
    import xgboost

    return {"predict": xgboost.Booster(model_file=folder / "model.ubj").inplace_predict(rows)}


def own_of_lightgbm(folder: Path, rows: Any) -> Answers:
    import lightgbm

    return {"predict": lightgbm.Booster(model_file=folder / "model.txt").predict(rows)}


@dataclass(frozen=True)
class Case:
    """A folder of `model_files`, what serves it, and what its library answers."""

    folder: str
    framework: str
    own: Callable[[Path, Any], Answers]
    dtype: type = np.float32
    memory: str = "512Mi"


CASES = [
    Case("iris", "sklearn", own_of_sklearn, np.float64),
    Case("torch", "pytorch", own_of_torchscript, memory="2Gi"),
    Case("torch-export", "pytorch", own_of_export, memory="2Gi"),
    Case("onnx", "onnx", own_of_onnx),
    pytest.param(Case("xgboost", "xgboost", own_of_xgboost), marks=pytest.mark.slow),
    pytest.param(Case("lightgbm", "lightgbm", own_of_lightgbm, np.float64), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.folder)
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:FutureWarning")
def test_a_model_answers_as_its_library(namespace: Namespace, model_files: dict[str, Path], case: Case) -> None:
    client = deployed(namespace, case.folder, case.framework, case.memory)
    rows = RANDOM_ROWS.astype(case.dtype)
    compare(client, case.folder, {"measures": rows}, case.own(model_files[case.folder], rows))


def deployed(namespace: Namespace, name: str, framework: str, memory: str, **more: Any) -> IngressClient:
    """A client of the model at s3://models/<name>/, published as a service of that name, which answers already."""
    model = {"uri": f"s3://models/{name}/", "framework": framework, "credentials": {"secretName": "model-store"}}
    resources = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": memory}}
    namespace.apply(name, namespace.published({"model": model, "resources": resources, **more}))
    namespace.wait_ready(name, timeout=230)
    client = namespace.client(name)
    once_routed(lambda: client.request("GET", f"v2/models/{name}"))
    return client


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("framework", ["tensorflow", "keras"])
def test_tensorflow_and_keras(namespace: Namespace, framework: str, tmp_path: Path) -> None:
    python = models.python_with("tensorflow")
    folder = models.train(framework, tmp_path / framework, python)
    models.upload(namespace.kubectl, folder, f"s3://models/{framework}/")
    command = [str(python), "-c", ASK_LIBRARY[framework], str(folder)]
    asked = subprocess.run(
        command, input=json.dumps(RANDOM_ROWS.tolist()), text=True, stdout=subprocess.PIPE, check=True
    )
    name, values = json.loads(asked.stdout.splitlines()[-1])
    client = deployed(namespace, framework, framework, "2Gi")
    compare(client, framework, {"measures": RANDOM_ROWS}, {"predict": {name: np.array(values, np.float32)}})


# What the library itself answers, asked in its own environment: the model's folder is an argument, the rows are stdin.
# With it comes the output's name: where a model has several signatures, it is that of the method.
ASK_LIBRARY = {
    "tensorflow": """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
rows = tf.constant(json.load(sys.stdin), tf.float32)
answer = loaded.signatures["serving_default"](measures=rows)["probabilities"]
print(json.dumps(["predict", answer.numpy().tolist()]))
""",
    "keras": """
import json, sys
import keras, numpy
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
answer = model.predict_on_batch(numpy.array(json.load(sys.stdin), "float32"))
print(json.dumps([model.layers[-1].name, answer.tolist()]))
""",
}


@pytest.mark.slow
def test_an_mlflow_model(namespace: Namespace, model_files: dict[str, Path], tmp_path: Path) -> None:
    import joblib

    pipeline = joblib.load(model_files["iris"] / "model.joblib")
    models.upload(namespace.kubectl, models.saved_by_mlflow(pipeline, tmp_path / "mlflow"), "s3://models/mlflow/")
    client = deployed(namespace, "mlflow", "mlflow", "1Gi")
    rows = RANDOM_ROWS.astype(np.float64)
    compare(client, "mlflow", {"measures": rows}, own_of_sklearn(model_files["iris"], rows))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hugging_face_model(namespace: Namespace, tmp_path: Path) -> None:
    random = np.random.default_rng(2026)
    words = ["a", "the", "very", "not", "good", "bad", "film", "plot"]
    texts = [" ".join(random.choice(words, 1 + number)) for number in range(20)]
    folder, own = models.text_classifier(tmp_path / "texts", texts)
    models.upload(namespace.kubectl, folder, "s3://models/huggingface/")
    client = deployed(namespace, "huggingface", "huggingface", "2Gi")
    labels = [[entry["label"] for entry in row] for row in own]
    chances = np.array([[entry["score"] for entry in row] for row in own])

    given = {"text": np.array([text.encode() for text in texts], object)}
    found = v2_binary(client, "huggingface", given, ["label", "probability"])
    assert [[label.decode() for label in row] for row in found["label"]] == labels
    np.testing.assert_allclose(found["probability"], chances, atol=1e-5)
    body = score(client, {"data": texts})
    assert [[entry["label"] for entry in row] for row in body] == labels
    np.testing.assert_allclose([[entry["probability"] for entry in row] for row in body], chances, atol=1e-5)


@pytest.mark.slow
def test_an_entry_script(namespace: Namespace, model_files: dict[str, Path]) -> None:
    client = deployed(namespace, "script", "script", "512Mi")
    own = own_of_sklearn(model_files["script"], RANDOM_ROWS.astype(np.float64))["predict_proba"]
    answers = score(client, {"rows": RANDOM_ROWS.tolist()})
    names = ["setosa", "versicolor", "virginica"]
    assert [answer["species"] for answer in answers] == [names[row.argmax()] for row in own]
    np.testing.assert_allclose([answer["probability"] for answer in answers], own.max(axis=1), atol=1e-4)


@pytest.mark.slow
def test_an_entry_script_with_a_schema(namespace: Namespace, model_files: dict[str, Path], tmp_path: Path) -> None:
    folder = models.script_with_schema(model_files["iris"], tmp_path / "schema")
    models.upload(namespace.kubectl, folder, "s3://models/schema/")
    client = deployed(namespace, "schema", "script", "512Mi")
    rows = RANDOM_ROWS.astype(np.float64)
    own = own_of_sklearn(model_files["iris"], rows)["predict_proba"]
    assert_equal(v2_binary(client, "schema", {"rows": rows}, ["run"])["run"], own, "V2")
    assert_equal(np.array(score(client, {"rows": rows.tolist()})), own, "/score")


@pytest.mark.slow
def test_a_converted_model(namespace: Namespace, model_files: dict[str, Path]) -> None:
    client = deployed(namespace, "iris", "sklearn", "512Mi", accelerate="onnx")
    rows = RANDOM_ROWS.astype(np.float64)
    compare(client, "iris", {"measures": rows}, own_of_sklearn(model_files["iris"], rows))
    about = client.request("GET", "v2/models/iris").body["parameters"]
    # On a busy node the conversion may seem to be slower; any other reason is a fault.
    assert about["accelerate"] == "onnx" or "times as long" in about["accelerate_reason"], about

    def told() -> dict[str, str] | None:
        (version,) = namespace.get("scoringservice", "iris")["status"]["versions"]
        found: dict[str, str] | None = version.get("acceleration")
        return found

    status = eventually(told, what="the status to say what became of the conversion")
    if about["accelerate"] == "onnx":
        assert status["inUse"] == "onnx"
        assert float(status["timesFaster"]) == about["accelerate_times_faster"]
        assert float(status["largestDifference"]) == about["accelerate_largest_difference"]
    else:
        assert (status["inUse"], status["message"]) == ("original", about["accelerate_reason"])
