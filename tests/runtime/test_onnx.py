"""ONNX models: what they take and give, and every file that is none.

- inputs: one matrix, columns of several dtypes, text; by name, without names, missing, unexpected, of another dtype;
- rows: any number, one at a time, three at a time; inputs that disagree;
- outputs: one, several, the maps that skl2onnx writes, too few rows;
- files: damaged, of a newer ONNX, with an operator nobody has, with weights in a file that is gone or outside.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scoring_runtime.errors import InputInvalid, InputRejected, ModelFailed, StartupError
from scoring_runtime.tensors import TensorSpec
from tests.runtime.answers import loader, refused, score

load = loader("onnx")

FEATURES, SPECIES = load_iris(return_X_y=True)
Ports = Sequence[tuple[str, int, Sequence[Any]]]


def save(path: Path, nodes: Sequence[Any], inputs: Ports, outputs: Ports, **changes: Any) -> onnx.ModelProto:
    """Write a graph of these nodes to path / model.onnx and return it."""
    described = [
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name, dtype, shape in ports]
        for ports in (inputs, outputs)
    ]
    graph = helper.make_graph(list(nodes), "graph", *described, list(changes.pop("initializers", ())))
    imports = [helper.make_opsetid("", changes.pop("opset", 17))]
    imports += [helper.make_opsetid(domain, 1) for domain in changes.pop("domains", ())]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = changes.pop("ir", 9)
    onnx.save_model(model, path / "model.onnx", **changes)
    return model


def doubled(path: Path, dtype: int = TensorProto.FLOAT, shape: Sequence[Any] = ("rows", 2), **changes: Any) -> Any:
    """Write and load a model that adds its input x to itself."""
    ports = ("x", dtype, shape), ("y", dtype, shape)
    save(path, [helper.make_node("Add", ["x", "x"], ["y"])], ports[:1], ports[1:], **changes)
    return load(path)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A scikit-learn pipeline, and the same as an ONNX model with skl2onnx's maps of probabilities."""
    folder = tmp_path_factory.mktemp("iris")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(FEATURES, SPECIES)
    (folder / "model.onnx").write_bytes(to_onnx(pipeline, FEATURES[:1].astype(np.float32)).SerializeToString())
    return pipeline, load(folder)


def test_what_a_model_says_of_itself(iris: tuple[Any, Any]) -> None:
    _, model = iris
    assert (model.platform, model.methods, model.warnings) == ("onnxruntime_onnx", ("predict",), ())
    assert model.signature.inputs == (TensorSpec("X", "float32", (-1, 4)),)
    assert model.signature.outputs == (
        TensorSpec("output_label", "int64", (-1,)),
        TensorSpec("output_probability", "float32", (-1, -1)),
    )


@pytest.mark.parametrize("names", [None, ("X",)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_labels_and_maps_of_probabilities(iris: tuple[Any, Any], names: Any, dtype: Any) -> None:
    pipeline, model = iris
    result = score(model, FEATURES[::10].astype(dtype), names=names)
    assert result.names == ("output_label", "output_probability")
    np.testing.assert_array_equal(result.arrays[0], pipeline.predict(FEATURES[::10]))
    np.testing.assert_allclose(result.arrays[1], pipeline.predict_proba(FEATURES[::10]), atol=1e-5)


def test_columns_of_numbers_and_of_text(tmp_path: Path) -> None:
    columns = make_column_transformer((OneHotEncoder(), [1]), (StandardScaler(), [0]))
    table = np.array([[20, "Bonn"], [30, "Ulm"], [40, "Bonn"], [50, "Ulm"]], dtype=object)
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1])
    types = [("age", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1]))]
    converted = to_onnx(pipeline, initial_types=types, options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(converted.SerializeToString())
    model = load(tmp_path)
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [("age", "float32"), ("city", "object")]
    ages, cities = [25, 35.5], np.array(["Bonn", "Ulm"], dtype=object)
    for result in (
        score(model, ages, cities, names=("age", "city")),
        score(model, cities, ages, names=("city", "age")),
        score(model, np.array(ages).reshape(2, 1), np.array([[b"Bonn"], [b"Ulm"]], object), names=("age", "city")),
        score(model, np.array([[25, "Bonn"], [35.5, "Ulm"]], dtype=object)),
    ):
        assert result.arrays[0].tolist() == [0, 1]
    for wrong, said in (
        ((cities, cities), r"input age takes numbers \(float32\); there is text in it"),
        ((ages, ages), "input city takes text, and got numbers"),
        ((ages, np.array([b"\xff", b"a"], object)), "input city takes text, and there are bytes that are not UTF-8"),
        ((ages, np.array(["a", None], object)), "input city takes text; there is a number or null in it"),
        ((ages, cities[:1]), "input city has 1 rows and input age has 2"),
    ):
        with pytest.raises(InputInvalid, match=said):
            score(model, *wrong, names=("age", "city"))
    with pytest.raises(InputInvalid, match="has the inputs age, city; send each by its name"):
        score(model, ages)


@pytest.mark.parametrize(
    ("arrays", "names", "said"),
    [
        (([[1.0, 2.0]],), ("rows",), "expects the input x; missing: x; unexpected: rows"),
        (([[1.0, 2.0]], [[1.0, 2.0]]), ("x", "y"), "expects the input x; unexpected: y"),
        (([[1.0, 2.0, 3.0]],), None, r"input x must have the shape \[rows, 2\]; got \[1, 3\]"),
        (([1.0, 2.0],), None, r"input x must have the shape \[rows, 2\]; got \[2\]"),
        ((np.array([["1", "2"]], object),), None, r"input x takes numbers \(float32\); there is text in it"),
        (([[1e300, 1]],), None, "input x is float32, and there is a value that this type does not have"),
    ],
)
def test_inputs_that_do_not_fit(tmp_path: Path, arrays: Any, names: Any, said: str) -> None:
    model = doubled(tmp_path)
    with pytest.raises(InputInvalid, match=said):
        score(model, *arrays, names=names)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        (TensorProto.INT32, [[1.0, -2.0]], [[1.5, 2.0], [2**40, 1], [float("nan"), 0]]),
        (TensorProto.INT64, [[True, 3]], [[0.5, 1], [float("inf"), 1]]),
        (TensorProto.UINT8, [[0, 100]], [[-1, 2], [300, 1], [1e9, 1]]),
        (TensorProto.FLOAT16, [[0.5, 100]], [[70000.0, 1]]),
        (TensorProto.DOUBLE, [[1e300, None]], []),
    ],
)
def test_values_are_kept_or_refused(tmp_path: Path, dtype: int, good: Any, bad: Any) -> None:
    model = doubled(tmp_path, dtype, shape=("rows", 2), opset=17)
    given = np.array(good, dtype=object)
    expected = np.array(good, dtype=np.float64) * 2
    np.testing.assert_allclose(score(model, given).arrays[0].astype(np.float64), expected)
    for row in bad:
        with pytest.raises(InputInvalid, match="there is a value that this type does not have"):
            score(model, [row])


@pytest.mark.parametrize("fixed", [1, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_a_fixed_number_of_rows(tmp_path: Path, fixed: int, rows: int) -> None:
    model = doubled(tmp_path, shape=(fixed, 2))
    given = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    np.testing.assert_array_equal(score(model, given).arrays[0], given * 2)


def test_inputs_that_disagree_on_the_rows(tmp_path: Path) -> None:
    inputs = ("a", TensorProto.FLOAT, (2, 1)), ("b", TensorProto.FLOAT, (3, 1))
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=0)]
    save(tmp_path, nodes, inputs, [("y", TensorProto.FLOAT, (5, 1))])
    with pytest.raises(StartupError, match=r"different fixed first axes \(a 2, b 3\)"):
        load(tmp_path)


def test_a_result_without_rows(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    save(tmp_path, nodes, [("x", TensorProto.FLOAT, ("rows", 2))], [("y", TensorProto.FLOAT, ())])
    with pytest.raises(ModelFailed, match=r"shape \(\) for 2 rows; its first axis must be rows"):
        score(load(tmp_path), [[1.0, 2.0], [3.0, 4.0]])


def test_an_input_without_rows(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    inputs = ("x", TensorProto.FLOAT, ("rows", 2)), ("factor", TensorProto.FLOAT, ())
    save(tmp_path, nodes, inputs, [("y", TensorProto.FLOAT, ("rows", 2))])
    with pytest.raises(StartupError, match="input factor has no axes"):
        load(tmp_path)


def test_values_that_the_model_refuses(tmp_path: Path) -> None:
    table = onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "table")
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    outputs = [("y", TensorProto.FLOAT, ("rows", 3))]
    save(tmp_path, nodes, [("x", TensorProto.INT64, ("rows",))], outputs, initializers=[table])
    model = load(tmp_path)
    assert score(model, [2, 0]).arrays[0].tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(InputRejected, match=r"the model refused the input: .*out of") as raised:
        score(model, [7])
    assert "\n" not in raised.value.message
    assert "/" not in raised.value.message


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (b"", "ModelInvalid", "model.onnx is empty"),
        (
            b"\x00\x01" * 300,
            "ModelInvalid",
            "model.onnx is not an ONNX model, or it is damaged: Protobuf parsing failed",
        ),
        (b"<html>Sign in</html>", "ModelInvalid", "is a web page"),
        (b"only notes about the model", "ModelInvalid", "is not an ONNX model"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, reason: str, said: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    found, message = refused(load, tmp_path)
    assert (found, said in message) == (reason, True), message


def test_a_damaged_model(tmp_path: Path) -> None:
    doubled(tmp_path)
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[:-20])
    assert refused(load, tmp_path)[0] == "ModelInvalid"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"opset": 99}, "was made for a newer ONNX"),
        ({"ir": 99}, "Unsupported model IR version: 99"),
        ({"domains": ["com.example"], "operator": "Secret"}, "com.example:Secret"),
        ({"operator": "Nonsense"}, "No Op registered for Nonsense"),
    ],
)
def test_models_of_another_version(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    domain = (changes.get("domains") or [""])[0]
    node = helper.make_node(changes.pop("operator", "Relu"), ["x"], ["y"], domain=domain)
    ports = ("x", TensorProto.FLOAT, ("rows", 2)), ("y", TensorProto.FLOAT, ("rows", 2))
    save(tmp_path, [node], ports[:1], ports[1:], **changes)
    reason, message = refused(load, tmp_path)
    assert (reason, said in message) == ("ModelIncompatible", True), message
    assert "/onnxruntime" not in message


def with_weights_beside(folder: Path) -> onnx.ModelProto:
    weights = onnx.numpy_helper.from_array(np.eye(2, dtype=np.float32), "weights")
    ports = ("x", TensorProto.FLOAT, ("rows", 2)), ("y", TensorProto.FLOAT, ("rows", 2))
    return save(
        folder, [helper.make_node("MatMul", ["x", "weights"], ["y"])], ports[:1], ports[1:],
        initializers=[weights], save_as_external_data=True, location="weights.data", size_threshold=0,
    )  # fmt: skip


def test_weights_in_a_file_beside_it(tmp_path: Path) -> None:
    with_weights_beside(tmp_path)
    assert score(load(tmp_path), [[1.0, 2.0]]).arrays[0].tolist() == [[1.0, 2.0]]
    (tmp_path / "weights.data").write_bytes(b"x")
    assert "a weights file of model.onnx is damaged or cut off" in refused(load, tmp_path)[1]
    (tmp_path / "weights.data").unlink()
    reason, message = refused(load, tmp_path)
    assert (reason, "in the file weights.data, which is not in its folder" in message) == ("ModelNotFound", True)


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    model = with_weights_beside(tmp_path)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location").value = "../secret"
    (tmp_path.parent / "secret").write_bytes(bytes(16))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    reason, message = refused(load, tmp_path)
    assert (reason, "outside its own folder" in message) == ("ModelInvalid", True), message


def test_larger_than_the_memory(tmp_path: Path) -> None:
    doubled(tmp_path)
    assert refused(load, tmp_path, memory_limit_bytes=10)[0] == "ModelTooLarge"


def test_no_gpu(tmp_path: Path) -> None:
    import onnxruntime

    doubled(tmp_path)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a GPU")
    reason, message = refused(load, tmp_path, device="cuda")
    assert (reason, "ONNX Runtime finds no CUDA GPU" in message) == ("ModelLoadFailed", True)
    assert len(score(load(tmp_path, device="auto"), [[1.0, 2.0]])) == 1


def test_as_a_service(make_app: Any, iris: tuple[Any, Any]) -> None:
    answer = make_app(iris[1], framework="onnx").test_client().post("/score", json={"data": FEATURES[:2].tolist()})
    assert answer.get_json()["output_label"] == [0, 0]
    assert np.shape(answer.get_json()["output_probability"]) == (2, 3)
