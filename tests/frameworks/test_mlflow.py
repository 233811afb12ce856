"""MLflow's models: which loader they get, and the checks of their signatures (what is no model: test_mlmodel.py).

- loaders: scikit-learn, ONNX and TorchScript by this runtime; pickled modules and Python classes by MLflow;
- signatures: columns with names and without, optional ones, tensors, none; the example as the sample.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scoring_runtime.errors import InputInvalid, InputRejected, ModelFailed, SampleFailed
from scoring_runtime.frameworks.mlflow import FunctionModel, NativeModel
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Tensors
from tests.frameworks.mlflow_models import FRAME, RANDOM, ROWS, SPECIES, Sum, change, load, mlflow, save
from tests.runtime.answers import infer

infer_signature, ModelSignature = mlflow.models.infer_signature, mlflow.models.ModelSignature


def generic(folder: Path, rows: Any) -> Any:
    """What MLflow itself answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True).predict(rows)


def score(model: Any, inputs: Tensors, method: str = "") -> Tensors:
    method = method or model.methods[0]
    result: Tensors = model.predict(model.prepare(inputs, method), method)
    return result


def columns(frame: pd.DataFrame) -> Tensors:
    return Tensors(tuple(frame[name].to_numpy() for name in frame), tuple(map(str, frame)))


@pytest.fixture(scope="module")
def classifier() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, SPECIES)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory, classifier: Any) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "iris"
    signature = infer_signature(FRAME, classifier.predict(FRAME))
    save(mlflow.sklearn, classifier, folder, signature=signature, input_example=FRAME[:3])
    return folder


def test_what_a_model_says_of_itself(iris: Path) -> None:
    model = load(iris)
    assert isinstance(model, NativeModel)
    assert (model.platform, model.warnings, model.batches) == ("mlflow_sklearn", (), True)
    assert model.methods == ("predict", "predict_proba", "decision_function")
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [(name, "float64") for name in FRAME]
    assert model.signature.outputs[0].dtype == "int64"
    example = model.example()
    np.testing.assert_array_equal(np.stack(example.arrays, axis=1), FRAME[:3])


@pytest.mark.parametrize("form", ["skops", "cloudpickle", "pickle"])
def test_the_answers_are_mlflows_own(make_app: Any, tmp_path: Path, classifier: Any, form: str) -> None:
    signature = infer_signature(FRAME, classifier.predict(FRAME))
    save(mlflow.sklearn, classifier, tmp_path / "m", signature=signature, serialization_format=form)
    model = load(tmp_path / "m")
    assert isinstance(model, NativeModel)
    expected = generic(tmp_path / "m", ROWS)
    app = make_app(model, framework="mlflow", batch_max_size=4096)
    sent = {name: ROWS[name].to_numpy() for name in ROWS}
    np.testing.assert_array_equal(infer(app, sent)["predict"], expected)
    answer = app.test_client().post("/score", json={"data": ROWS.to_numpy().tolist()})
    assert answer.get_json() == expected.tolist()
    split = {"dataframe_split": {"columns": list(ROWS)[::-1], "data": ROWS.to_numpy()[:, ::-1].tolist()}}
    assert app.test_client().post("/invocations", json=split).get_json() == {"predictions": expected.tolist()}


def test_another_function_of_the_model(tmp_path: Path, classifier: Any) -> None:
    save(mlflow.sklearn, classifier, tmp_path / "m", pyfunc_predict_fn="predict_proba")
    model = load(tmp_path / "m")
    assert model.methods == ("predict_proba", "predict", "decision_function")
    np.testing.assert_array_equal(score(model, columns(ROWS)).arrays[0], generic(tmp_path / "m", ROWS))
    np.testing.assert_array_equal(score(model, columns(ROWS), "predict").arrays[0], classifier.predict(ROWS))


def test_tensors(tmp_path: Path) -> None:
    fitted = LogisticRegression(max_iter=500).fit(FRAME.to_numpy(), SPECIES)
    signature = infer_signature(FRAME.to_numpy(), SPECIES.to_numpy())
    save(mlflow.sklearn, fitted, tmp_path / "m", signature=signature, input_example=FRAME.to_numpy()[:2])
    model = load(tmp_path / "m")
    rows = ROWS.to_numpy()
    np.testing.assert_array_equal(score(model, Tensors((rows,))).arrays[0], generic(tmp_path / "m", rows))
    np.testing.assert_array_equal(score(model, columns(ROWS)).arrays[0], generic(tmp_path / "m", rows))
    np.testing.assert_array_equal(model.example().arrays[0], FRAME.to_numpy()[:2])
    with pytest.raises(InputInvalid, match=r"must have the shape \[rows, 4\]; got \[1, 3\]"):
        score(model, Tensors((rows[:1, :3],)))


def test_an_onnx_model(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    fitted = LogisticRegression(max_iter=500).fit(FRAME.to_numpy(), SPECIES)
    options = {id(fitted): {"zipmap": False}}
    save(mlflow.onnx, to_onnx(fitted, FRAME.to_numpy()[:1].astype(np.float32), options=options), tmp_path / "m")
    model, rows = load(tmp_path / "m"), ROWS.to_numpy().astype(np.float32)
    assert (type(model), model.platform) == (NativeModel, "mlflow_onnx")
    result, expected = score(model, Tensors((rows,))), generic(tmp_path / "m", rows)
    for name, array in zip(result.names or (), result.arrays, strict=True):
        np.testing.assert_array_equal(array, expected[name])


def boosters() -> dict[str, tuple[Any, Any, bool]]:
    """Boosters and their wrappers like scikit-learn's: the flavor, the model, and whether this runtime loads it."""
    import lightgbm
    import xgboost

    rows, labels = ROWS.to_numpy(), (ROWS.to_numpy().sum(axis=1) > 13).astype(int)
    few = {"n_estimators": 5, "n_jobs": 1}
    xgb, lgb = xgboost.XGBClassifier(**few), lightgbm.LGBMClassifier(**few, verbose=-1)
    return {
        "xgboost": (mlflow.xgboost, xgb.fit(rows, labels).get_booster(), True),
        "xgboost's classifier": (mlflow.xgboost, xgb, False),
        "lightgbm": (mlflow.lightgbm, lgb.fit(rows, labels).booster_, True),
    }


@pytest.mark.parametrize("name", ["xgboost", "xgboost's classifier", "lightgbm"])
def test_boosters(tmp_path: Path, name: str) -> None:
    module, booster, native = boosters()[name]
    rows = ROWS.to_numpy()
    signature = infer_signature(ROWS)
    save(module, booster, tmp_path / "m", signature=signature)
    model = load(tmp_path / "m")
    assert isinstance(model, NativeModel if native else FunctionModel)
    expected = generic(tmp_path / "m", ROWS)
    np.testing.assert_allclose(score(model, columns(ROWS)).arrays[0], expected, rtol=1e-6)
    np.testing.assert_allclose(score(model, Tensors((rows,))).arrays[0], expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("scripted", [True, False])
def test_pytorch_models(tmp_path: Path, scripted: bool) -> None:
    import torch

    torch.manual_seed(0)
    network: Any = torch.nn.Linear(4, 3)
    network = torch.jit.script(network) if scripted else network
    signature = infer_signature(ROWS.to_numpy(np.float32), np.zeros((1, 3), np.float32))
    save(mlflow.pytorch, network, tmp_path / "m", signature=signature, serialization_format="pickle")
    model, rows = load(tmp_path / "m"), ROWS.to_numpy().astype(np.float32)
    assert isinstance(model, NativeModel if scripted else FunctionModel)
    expected = generic(tmp_path / "m", rows)
    np.testing.assert_allclose(score(model, Tensors((rows,))).arrays[0], expected, rtol=1e-5, atol=1e-6)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow would like type hints, and treats rows otherwise then.

    class Summary(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return {
                "dict": {"rows": len(model_input)},
                "list": [f"row {at}" for at, _ in enumerate(model_input.values)],
            }["dict" if len(model_input) > 2 else "list"]


SUMS = ModelSignature(
    mlflow.types.Schema(
        [
            mlflow.types.ColSpec(mlflow.types.DataType.long, "left"),
            mlflow.types.ColSpec(mlflow.types.DataType.double, "right", required=False),
        ]
    ),
    mlflow.types.Schema(
        [
            mlflow.types.ColSpec(mlflow.types.DataType.double, "sum"),
            mlflow.types.ColSpec(mlflow.types.DataType.string, "text"),
        ]
    ),
)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "sums"
    save(mlflow.pyfunc, folder, python_model=Sum(), signature=SUMS)
    return folder


def test_a_python_class(make_app: Any, sums: Path) -> None:
    model = load(sums)
    assert (type(model), model.platform, model.batches) == (FunctionModel, "mlflow_pyfunc", False)
    app = make_app(model, framework="mlflow")
    frame = pd.DataFrame({"left": RANDOM.integers(0, 50, 1000), "right": RANDOM.normal(size=1000)})
    expected = generic(sums, frame)
    found = infer(app, {"right": frame["right"].to_numpy(), "left": frame["left"].to_numpy()})
    np.testing.assert_array_equal(found["sum"], expected["sum"])
    assert found["text"].tolist() == expected["text"].tolist()
    records = frame.to_dict("records")
    answer = app.test_client().post("/invocations", json={"dataframe_records": records}).get_json()["predictions"]
    assert answer == {name: expected[name].tolist() for name in expected}


def test_columns_are_checked(sums: Path) -> None:
    model = load(sums)
    left, right = np.array([1, 2]), np.array([0.5, 1.5])
    assert score(model, Tensors((left,), ("left",))).arrays[0].tolist() == [1, 2], "right is optional"
    extra = Tensors((left, right, right), ("left", "right", "other"))
    assert score(model, extra).arrays[0].tolist() == [1.5, 3.5], "what the signature does not have is left out"
    for given, said in (
        (Tensors((right,), ("right",)), "missing: left"),
        (Tensors((right, right), ("left", "right")), "input left is int64, and there is a value that this type"),
        (Tensors((np.array(["a"], object), right[:1]), ("left", "right")), "input left takes numbers"),
    ):
        with pytest.raises(InputInvalid, match=said):
            score(model, given)


def test_what_a_python_class_refuses(sums: Path) -> None:
    model = load(sums)
    with pytest.raises(InputRejected, match="the model refused the input: left is over 100"):
        score(model, Tensors((np.array([101]),), ("left",)))
    with pytest.raises(KeyError):
        score(model, Tensors((np.array([60]),), ("left",)))


def test_answers_without_rows(tmp_path: Path) -> None:
    save(mlflow.pyfunc, tmp_path / "m", python_model=Summary())
    model = load(tmp_path / "m")
    assert score(model, Tensors((np.ones((2, 2)),))).arrays[0].tolist() == ["row 0", "row 1"]
    with pytest.raises(ModelFailed, match="returned a single value for 3 rows"):
        score(model, Tensors((np.ones((3, 2)),)))


def serve(folder: Path) -> Serving:
    """Load as the server does, which scores the example."""
    serving = Serving(limits_of(Settings(auth="none", framework="mlflow")))
    try:
        serving.load(lambda: load(folder), folder / "sample-request.json")
    finally:
        serving.close()
    return serving


def test_the_example_is_scored_before_the_model_is_ready(tmp_path: Path, iris: Path) -> None:
    assert serve(iris).state == "ready"
    save(mlflow.pyfunc, tmp_path / "m", python_model=Sum(), signature=SUMS)
    change(tmp_path / "m", saved_input_example_info={"artifact_path": "example.json", "type": "dataframe"})
    (tmp_path / "m" / "example.json").write_text(json.dumps({"columns": ["left"], "data": [[1], [2]]}))
    assert serve(tmp_path / "m").state == "ready"
    (tmp_path / "m" / "example.json").write_text(json.dumps({"columns": ["left"], "data": [[101]]}))
    with pytest.raises(SampleFailed, match=r"could not score its own example, saved beside it: .* left is over 100"):
        serve(tmp_path / "m")
    (tmp_path / "m" / "sample-request.json").write_text('{"data": [{"left": 1}]}')
    assert serve(tmp_path / "m").state == "ready", "a sample request comes before the example"


@pytest.mark.filterwarnings("ignore:.*Add type hints:UserWarning")
def test_named_tensors(tmp_path: Path) -> None:
    class Difference(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input["left"] - model_input["right"].sum(axis=1)

    inputs = mlflow.types.Schema(
        [
            mlflow.types.TensorSpec(np.dtype("float32"), (-1,), "left"),
            mlflow.types.TensorSpec(np.dtype("int64"), (-1, 2), "right"),
        ]
    )
    save(mlflow.pyfunc, tmp_path / "m", python_model=Difference(), signature=ModelSignature(inputs))
    given = Tensors((np.array([5.0]), np.array([[1, 2]])), ("left", "right"))
    assert score(load(tmp_path / "m"), given).arrays[0].tolist() == [2.0]
