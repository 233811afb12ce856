"""Twenty entry scripts in the ways that users of Azure ML write them run unchanged; none of Azure's packages is here.

Each is a file in scripts/azure, and has a model that is trained here; its answers are those of the model's own library.

script                what it is                                             answers
diabetes_ridge        sklearn.externals.joblib, Model.get_model_path         a list; an error as a text
iris_plain            AZUREML_MODEL_DIR, print                               an object with an array
pickle_in_outputs     pickle in a folder below, ModelDataCollector           JSON in a string
dataframe_split       pandas' orient split in the body                       records
numpy_schema          NumpyParameterType in and out                          a list
pandas_schema         PandasParameterType                                    JSON in a string
automl_nested         AutoML's Inputs and GlobalParameters                   {"Results": …} by two methods
standard_schema       StandardPythonParameterType of a list and a number     labels and scores
optional_parameters   an optional argument, request_headers                  the best classes
faq_matching          TF-IDF and boosted trees, a module in src/             every known question, ranked
models_by_name        two models by Model.get_model_path, one by version     their mean
models_in_folder      AZUREML_MODEL_DIR/NAME/VERSION, chosen by the request  one model's
raw_methods           @rawhttp: GET, POST, OPTIONS; jsonify                  a response for each
raw_multipart_image   several images of request.files, PIL                   a digit for each
raw_newer_package     azureml_inference_server_http: bytes in and out        bytes and headers
onnx_schema           onnxruntime behind a schema                            a list
onnx_digits           onnxruntime with preprocessing and softmax             digits and probabilities
pytorch_state_dict    a network in a module beside, its state_dict           labels and probabilities
pytorch_safetensors   weights in safetensors, behind a schema                a tensor
keras_json_h5         model.json and model.h5                                classes
"""

import io
import json
import pickle
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from flask import Flask
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

AppOf = Callable[..., Flask]
FolderOf = Callable[..., Path]
FOLDER = Path(__file__).parent / "scripts" / "azure"
BESIDE = {"network", "text_pairs"}
# In tests/frameworks/test_keras.py, with each backend that there is.
ELSEWHERE = {"keras_json_h5"}
IRIS = load_iris()
FLOWERS = IRIS.data[[0, 60, 120]]
SPECIES = ["setosa", "versicolor", "virginica"]
PATIENTS = load_diabetes().data[:3]
CUSTOMERS = pd.DataFrame(
    {
        "customer": [f"C-{number}" for number in range(8)],
        "months": [1, 40, 3, 60, 2, 25, 4, 33],
        "monthly": [70.5, 20.0, 80.25, 30.0, 99.0, 25.5, 85.0, 20.0],
        "plan": ["flex", "basic"] * 4,
    }
)


def score(app: Flask, body: Any) -> Any:
    data = body if isinstance(body, str) else json.dumps(body)
    response = app.test_client().post("/score", data=data, content_type="application/json")
    assert response.status_code == 200, response.text
    return response.get_json()


@pytest.fixture
def sample(script_folder: FolderOf) -> Callable[..., Path]:
    """Make the folder of one of the twenty, with models in it by their paths, written as joblib does."""

    def make(name: str, **models: Any) -> Path:
        folder = script_folder(f"azure/{name}")
        for place, model in models.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            joblib.dump(model, path)
        return folder

    return make


@pytest.fixture(scope="module")
def ridge() -> Ridge:
    return Ridge(alpha=0.5).fit(*load_diabetes(return_X_y=True))


@pytest.fixture(scope="module")
def iris() -> LogisticRegression:
    return LogisticRegression(max_iter=1000).fit(IRIS.data, IRIS.target)


@pytest.fixture(scope="module")
def digits() -> LogisticRegression:
    return LogisticRegression(max_iter=20, tol=0.1).fit(*load_digits(return_X_y=True))


@pytest.fixture(scope="module")
def churn() -> Pipeline:
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), ("passthrough", ["months", "monthly"]))
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(CUSTOMERS, [1, 0, 1, 0, 1, 0, 1, 0])


def test_all_twenty_are_here() -> None:
    scripts = {file.stem for file in FOLDER.glob("*.py")} - BESIDE
    assert scripts - ELSEWHERE <= {name.removeprefix("test_") for name in globals()}
    assert len(scripts) == 20
    assert find_spec("azureml") is None
    assert find_spec("inference_schema") is None


def test_diabetes_ridge(script_app: AppOf, sample: Callable[..., Path], ridge: Ridge) -> None:
    app = script_app(sample("diabetes_ridge", **{"sklearn_regression_model.pkl": ridge}))
    assert score(app, {"data": PATIENTS.tolist()}) == ridge.predict(PATIENTS).tolist()
    assert "expecting 10 features" in score(app, {"data": [[1.0]]})


def test_iris_plain(script_app: AppOf, sample: Callable[..., Path], iris: LogisticRegression) -> None:
    answer = score(script_app(sample("iris_plain", **{"model.joblib": iris})), {"data": FLOWERS.tolist()})
    assert answer == {"species": SPECIES, "probabilities": iris.predict_proba(FLOWERS).tolist()}


def test_pickle_in_outputs(script_app: AppOf, sample: Callable[..., Path]) -> None:
    rows, classes = load_wine(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(rows[:, :3], classes)
    folder = sample("pickle_in_outputs")
    (folder / "outputs").mkdir()
    (folder / "outputs" / "wine.pkl").write_bytes(pickle.dumps(model))
    answer = score(script_app(folder), {"data": rows[::40, :3].tolist()})
    assert json.loads(answer) == {"result": model.predict(rows[::40, :3]).tolist()}


def test_dataframe_split(script_app: AppOf, sample: Callable[..., Path], churn: Pipeline) -> None:
    app = script_app(sample("dataframe_split", **{"churn.joblib": churn}))
    probabilities = churn.predict_proba(CUSTOMERS)[:, 1]
    assert score(app, CUSTOMERS.to_json(orient="split")) == [
        {"customer": customer, "churn": bool(probability > 0.5), "probability": probability}
        for customer, probability in zip(CUSTOMERS["customer"], probabilities, strict=True)
    ]


def test_numpy_schema(script_app: AppOf, sample: Callable[..., Path], ridge: Ridge) -> None:
    app = script_app(sample("numpy_schema", **{"sklearn_regression_model.pkl": ridge}))
    assert score(app, {"data": PATIENTS.tolist()}) == ridge.predict(PATIENTS).tolist()
    described = app.test_client().get("/swagger.json").get_json()["definitions"]["ServiceInput"]["properties"]["data"]
    assert described["items"]["items"] == {"type": "number", "format": "double"}


def test_pandas_schema(script_app: AppOf, sample: Callable[..., Path], churn: Pipeline) -> None:
    app = script_app(sample("pandas_schema", **{"churn.joblib": churn}))
    answer = score(app, {"data": CUSTOMERS.to_dict(orient="records")})
    assert json.loads(answer) == {"result": churn.predict(CUSTOMERS).tolist()}
    refused = app.test_client().post("/score", json={"data": [{"customer": "C-1", "months": 2}]})
    assert refused.status_code == 400
    assert "missing: monthly, plan" in refused.get_json()["error"]["message"]


def test_automl_nested(script_app: AppOf, sample: Callable[..., Path], churn: Pipeline) -> None:
    # The samples that AutoML writes are placeholders, which this model refuses; so there is a real one.
    folder = sample("automl_nested", **{"churn.joblib": churn})
    inputs = {"data": CUSTOMERS.to_dict(orient="records")}
    (folder / "sample-request.json").write_text(json.dumps({"Inputs": inputs}))
    app = script_app(folder)
    assert score(app, {"Inputs": inputs}) == {"Results": churn.predict(CUSTOMERS).tolist()}
    answer = score(app, {"Inputs": inputs, "GlobalParameters": "predict_proba"})
    assert answer == {"Results": churn.predict_proba(CUSTOMERS).tolist()}
    failed = app.test_client().post("/score", json={"Inputs": inputs, "GlobalParameters": "explain"})
    assert (failed.status_code, failed.headers["x-ms-run-function-failed"]) == (500, "True")


def test_standard_schema(script_app: AppOf, sample: Callable[..., Path]) -> None:
    texts = ["where is it", "how do I pay", "when does it come", "what a shame", "this is bad", "never again, bad"]
    vectorizer = TfidfVectorizer().fit(texts)
    classifier = LogisticRegression().fit(vectorizer.transform(texts), [0, 0, 0, 1, 1, 1])
    folder = sample("standard_schema", **{"vectorizer.pkl": vectorizer, "classifier.pkl": classifier})
    asked = ["where do I pay", "a bad shame"]
    scores = classifier.predict_proba(vectorizer.transform(asked))[:, 1].tolist()
    labels = ["question", "complaint"]
    assert score(script_app(folder), {"texts": asked, "threshold": 0.5}) == [
        {"label": label, "score": value} for label, value in zip(labels, scores, strict=True)
    ]


def test_optional_parameters(script_app: AppOf, sample: Callable[..., Path], iris: LogisticRegression) -> None:
    client = script_app(sample("optional_parameters", **{"model.joblib": iris})).test_client()
    ranked = np.argsort(-iris.predict_proba(FLOWERS), axis=1)
    for body, top in (({}, 1), ({"top": 2}, 2)):
        headers = {"x-ms-client-request-id": "mine"}
        answer = client.post("/score", json={"data": FLOWERS.tolist(), **body}, headers=headers).get_json()
        assert answer == {"best": ranked[:, :top].tolist(), "asked by": "mine"}


def test_faq_matching(script_app: AppOf, sample: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    known = pd.DataFrame(
        {
            "id": [11, 12, 13],
            "answer_id": [21, 22, 23],
            "question": ["How do I read a file", "How do I sort a list", "What is a promise"],
        }
    )
    asked = ["read a file line by line", "sort list of numbers", "what does a promise do", "read file in a list"]
    pairs = known.merge(pd.Series(asked, name="asked"), how="cross")
    monkeypatch.syspath_prepend(FOLDER)
    from text_pairs import overlap  # type: ignore[import-not-found]

    pairs["overlap"] = [overlap(*pair) for pair in zip(pairs["asked"], pairs["question"], strict=True)]
    columns = make_column_transformer(
        (TfidfVectorizer(), "asked"), (TfidfVectorizer(), "question"), ("passthrough", ["overlap"])
    )
    model = make_pipeline(columns, GradientBoostingClassifier(n_estimators=5, random_state=0))
    model.fit(pairs, pairs["overlap"] > 0.2)
    folder = sample("faq_matching", **{"model.pkl": model})
    known.to_csv(folder / "questions.tsv", sep="\t", index=False)
    (folder / "src").mkdir()
    shutil.copy(FOLDER / "text_pairs.py", folder / "src")
    answer = score(script_app(folder), {"input": asked[1]})
    probabilities = model.predict_proba(pairs[pairs["asked"] == asked[1]])[:, 1]
    assert [row[2] for row in answer] == sorted(probabilities, reverse=True)
    assert {(row[0], row[1]) for row in answer} == {(11, 21), (12, 22), (13, 23)}
    assert answer[0][0] == known["id"][int(np.argmax(probabilities))]


def test_models_by_name(script_app: AppOf, sample: Callable[..., Path], ridge: Ridge) -> None:
    other = LinearRegression().fit(*load_diabetes(return_X_y=True))
    places = {"my_second_model/1/model.pkl": ridge, "my_second_model/2/model.pkl": other}
    app = script_app(sample("models_by_name", **{"my_first_model.pkl": ridge}, **places))
    mean = (ridge.predict(PATIENTS) + other.predict(PATIENTS)) / 2
    assert score(app, {"data": PATIENTS.tolist()}) == mean.tolist()


def test_models_in_folder(script_app: AppOf, sample: Callable[..., Path], ridge: Ridge) -> None:
    plain = LinearRegression().fit(*load_diabetes(return_X_y=True))
    app = script_app(sample("models_in_folder", **{"ridge/1/model.pkl": ridge, "ridge/2/model.pkl": plain}))
    for which, model in (("ridge:1", ridge), ("ridge:2", plain)):
        answer = score(app, {"model": which, "data": PATIENTS.tolist()})
        assert answer == {"model": which, "result": model.predict(PATIENTS).tolist()}
    assert score(app, {"data": []}) == {"error": "no model None", "models": ["ridge:1", "ridge:2"]}


def test_raw_methods(script_app: AppOf, sample: Callable[..., Path], iris: LogisticRegression) -> None:
    client = script_app(sample("raw_methods", **{"model.joblib": iris})).test_client()
    got = client.get("/score", query_string=[("x", value) for value in FLOWERS[2]])
    assert got.get_json() == {"species": int(iris.predict(FLOWERS[2:])[0])}
    assert got.headers["Access-Control-Allow-Origin"] == "http://www.example.com"
    # A comma parts the values of one header.
    assert got.headers["Allow"] == "OPTIONS, GET, POST"
    posted = client.post("/score", json={"data": FLOWERS.tolist()})
    assert posted.get_json() == {"species": iris.predict(FLOWERS).tolist()}
    assert client.post("/score", data="x", content_type="text/plain").status_code == 415
    assert client.options("/score").headers.getlist("Allow") == ["OPTIONS", "GET", "POST"]


def test_raw_multipart_image(script_app: AppOf, sample: Callable[..., Path], digits: LogisticRegression) -> None:
    client = script_app(sample("raw_multipart_image", digits=digits)).test_client()
    shades = load_digits().data[10:13] * 255 / 16
    written = np.round(shades).astype(np.uint8)
    uploads = []
    for number, pixels in enumerate(written):
        file = io.BytesIO()
        Image.fromarray(pixels.reshape(8, 8)).save(file, "PNG")
        uploads.append((io.BytesIO(file.getvalue()), f"{number}.png"))
    answer = client.post("/score", data={"image": uploads, "comment": "three digits"})
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    expected = digits.predict(written * 16 / 255)
    assert answer.get_json() == [{"file": f"{n}.png", "digit": int(digit)} for n, digit in enumerate(expected)]
    assert client.post("/score", data={"comment": "none"}).status_code == 400


def test_raw_newer_package(script_app: AppOf, sample: Callable[..., Path], iris: LogisticRegression) -> None:
    client = script_app(sample("raw_newer_package", **{"model.joblib": iris})).test_client()
    rows = FLOWERS.astype("<f4")
    answer = client.post("/score", data=rows.tobytes(), content_type="application/octet-stream")
    assert (answer.headers["X-Rows"], answer.content_type) == ("3", "application/octet-stream")
    assert np.array_equal(np.frombuffer(answer.data, "<f4"), iris.predict_proba(rows).astype("<f4").ravel())
    refused = client.post("/score", data=b"short")
    assert (refused.status_code, refused.headers["x-ms-run-function-failed"]) == (400, "True")
    assert refused.get_json() == {"error": "send rows of four float32"}


def test_onnx_schema(script_app: AppOf, sample: Callable[..., Path], iris: LogisticRegression) -> None:
    from skl2onnx import to_onnx

    folder = sample("onnx_schema")
    (folder / "model.onnx").write_bytes(to_onnx(iris, FLOWERS.astype(np.float32)).SerializeToString())
    assert score(script_app(folder), {"data": FLOWERS.tolist()}) == iris.predict(FLOWERS).tolist()


def test_onnx_digits(script_app: AppOf, sample: Callable[..., Path], digits: LogisticRegression) -> None:
    from skl2onnx import to_onnx

    pixels = load_digits().data[:4]
    options = {"raw_scores": True, "zipmap": False, "output_class_labels": False}
    model = to_onnx(digits, pixels.astype(np.float32), options={id(digits): options})
    model.graph.output[1].name = "scores"
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "probabilities" else name for name in node.output]
    folder = sample("onnx_digits")
    (folder / "digits.onnx").write_bytes(model.SerializeToString())
    app = script_app(folder)
    answer = score(app, {"data": pixels.tolist()})
    assert [one["digit"] for one in answer["result"]] == digits.predict(pixels).tolist()
    probabilities = [one["probability"] for one in answer["result"]]
    assert probabilities == pytest.approx(digits.predict_proba(pixels).max(axis=1), rel=1e-4)
    assert answer["time_in_sec"][0] >= 0
    assert "reshape" in score(app, {"data": [1, 2]})["error"]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The users' network with the weights that it has got; the tests compare what it says with what the script does."""
    import torch

    monkeypatch.syspath_prepend(FOLDER)
    from network import Net  # type: ignore[import-not-found]

    torch.manual_seed(0)
    return Net().eval()


def test_pytorch_state_dict(script_app: AppOf, sample: Callable[..., Path], network: Any) -> None:
    import torch

    folder = sample("pytorch_state_dict")
    shutil.copy(FOLDER / "network.py", folder)
    (folder / "outputs").mkdir()
    torch.save(network.state_dict(), folder / "outputs" / "model.pt")
    expected = torch.softmax(network(torch.tensor(FLOWERS.tolist())), 1).detach().numpy()
    answer = score(script_app(folder), {"data": FLOWERS.tolist()})
    assert [one["label"] for one in answer] == [SPECIES[row.argmax()] for row in expected]
    assert [float(one["probability"]) for one in answer] == pytest.approx(expected.max(axis=1), rel=1e-5)


def test_pytorch_safetensors(script_app: AppOf, sample: Callable[..., Path], network: Any) -> None:
    import torch
    from safetensors.torch import save_file

    folder = sample("pytorch_safetensors")
    shutil.copy(FOLDER / "network.py", folder)
    save_file(network.state_dict(), folder / "model.safetensors")
    expected = torch.softmax(network(torch.tensor(FLOWERS, dtype=torch.float32)), 1).detach().numpy()
    np.testing.assert_allclose(score(script_app(folder), {"data": FLOWERS.tolist()}), expected, rtol=1e-5)
