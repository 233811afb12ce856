"""TensorFlow SavedModels: what they take and give, and every folder that is none.

- inputs: numbers of several dtypes, text and any bytes; by name, without names, missing, of another shape;
- signatures: the default one, others, the one that Keras writes twice, none;
- rows: any number, a fixed one; outputs: one, several, text, bfloat16, none with rows;
- folders: TensorFlow Serving's, several models, other formats, damaged, without weights, too large;
- the same answers as TensorFlow's own, through /score and V2.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import pictures
from tests.runtime.answers import infer, loader, refused, score

# As the loader does, before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

from scoring_runtime.errors import InputInvalid, InputRejected, ModelFailed
from scoring_runtime.tensors import TensorSpec

load = loader("tensorflow")

ROWS = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)


class Network(tf.Module):
    """Scores of three classes, and under other signatures the likeliest class, and texts in capitals."""

    def __init__(self) -> None:
        super().__init__()
        draw = tf.random.Generator.from_seed(1)
        self.weights = tf.Variable(draw.normal((4, 3)))

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="rows")])
    def scores(self, rows: Any) -> Any:
        return {"scores": tf.nn.softmax(rows @ self.weights)}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="rows")])
    def likeliest(self, rows: Any) -> Any:
        scores = self.scores(rows)["scores"]
        return {"label": tf.argmax(scores, axis=1), "probability": tf.reduce_max(scores, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    def capitals(self, texts: Any) -> Any:
        return {"text": tf.strings.upper(texts, encoding="utf-8")}


def save(folder: Path, function: Callable[..., Any], *specs: Any) -> Path:
    """Save a function of tensors as the default signature."""
    module = tf.Module()
    module.called = tf.function(function, input_signature=list(specs))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.called.get_concrete_function()})
    return folder


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, network = tmp_path_factory.mktemp("network"), Network()
    functions = {"serving_default": network.scores, "likeliest": network.likeliest, "capitals": network.capitals}
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    tf.saved_model.save(network, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def network(network_folder: Path) -> Any:
    return load(network_folder)


@pytest.fixture(scope="module")
def own(network_folder: Path) -> Any:
    """The same, loaded with TensorFlow alone; hold on to it, since its signatures do not."""
    return tf.saved_model.load(str(network_folder))


def test_what_a_model_says_of_itself(network: Any) -> None:
    assert (network.platform, network.warnings) == ("tensorflow_savedmodel", ())
    assert network.methods == ("predict", "capitals", "likeliest")
    assert network.signature.inputs == (TensorSpec("rows", "float32", (-1, 4)),)
    assert network.signature.outputs == (TensorSpec("scores", "float32", (-1, 3)),)


def test_the_answers_are_tensorflows_own(make_app: Any, network: Any, own: Any) -> None:
    app = make_app(network, framework="tensorflow", batch_max_size=4096)
    expected = own.signatures["serving_default"](rows=tf.constant(ROWS))["scores"].numpy()
    np.testing.assert_array_equal(infer(app, {"rows": ROWS})["predict"], expected)
    answer = app.test_client().post("/score", json={"data": ROWS.tolist()})
    np.testing.assert_array_equal(np.array(answer.get_json(), np.float32), expected)
    likeliest = own.signatures["likeliest"](rows=tf.constant(ROWS))
    found = infer(app, {"rows": ROWS}, method="likeliest")
    for name in ("label", "probability"):
        np.testing.assert_array_equal(found[name], likeliest[name].numpy())
    answer = app.test_client().post("/score", json={"data": ["café", "a"], "method": "capitals"})
    assert answer.get_json() == ["CAFÉ", "A"]


@pytest.mark.parametrize(
    ("arrays", "names", "said"),
    [
        (([[1.0, 2.0]],), None, r"input rows must have the shape \[rows, 4\]; got \[1, 2\]"),
        (([[1.0, 2.0, 3.0, 4.0]],), ("x",), "expects the input rows; missing: rows; unexpected: x"),
        ((np.array([["1", "2", "3", "4"]], object),), None, r"takes numbers \(float32\); there is text"),
    ],
)
def test_inputs_that_do_not_fit(network: Any, arrays: Any, names: Any, said: str) -> None:
    with pytest.raises(InputInvalid, match=said):
        score(network, *arrays, names=names)


@pytest.mark.parametrize(
    ("texts", "said"), [([1.0], "takes text, and got numbers"), (np.array(["a", None], object), "a number or null")]
)
def test_texts_that_are_none(network: Any, texts: Any, said: str) -> None:
    with pytest.raises(InputInvalid, match=said):
        score(network, texts, method="capitals")


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    folder = save(tmp_path, lambda x: {"same": x, "size": tf.strings.length(x)}, tf.TensorSpec((None,), tf.string))
    given = np.array([b"\xff\xd8", b"text"], object)
    result = score(load(folder), given)
    assert result.names == ("same", "size")
    assert (result.arrays[0].tolist(), result.arrays[1].tolist()) == ([b"\xff\xd8", b"text"], [2, 4])


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        (tf.int32, [[1.0, -2.0]], [[1.5, 2.0]]),
        (tf.uint8, [[0, 200]], [[300, 1]]),
        (tf.bool, [[True, False]], []),
        (tf.float16, [[0.5, 2]], [[70000.0, 1]]),
        (tf.bfloat16, [[0.5, 2]], []),
    ],
)
def test_values_are_kept_or_refused(tmp_path: Path, dtype: Any, good: Any, bad: Any) -> None:
    model = load(save(tmp_path, lambda x: {"same": x}, tf.TensorSpec((None, 2), dtype, name="x")))
    np.testing.assert_array_equal(score(model, good).arrays[0].astype(float), np.array(good, float))
    for row in bad:
        with pytest.raises(InputInvalid, match="there is a value that this type does not have"):
            score(model, [row])


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_a_fixed_number_of_rows(tmp_path: Path, rows: int) -> None:
    model = load(save(tmp_path, lambda x: {"y": x * 2}, tf.TensorSpec((3, 2), tf.float32, name="x")))
    given = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    np.testing.assert_array_equal(score(model, given).arrays[0], given * 2)


def test_values_that_the_model_refuses(tmp_path: Path) -> None:
    spec = tf.TensorSpec((None, None), tf.float32, name="x")
    model = load(save(tmp_path, lambda x: {"y": x @ tf.eye(2)}, spec))
    with pytest.raises(InputRejected, match="the model refused the input: Matrix size-incompatible") as raised:
        score(model, [[1.0, 2.0, 3.0]])
    assert "\n" not in raised.value.message


def test_a_result_without_rows(tmp_path: Path) -> None:
    model = load(save(tmp_path, lambda x: {"y": tf.reduce_sum(x)}, tf.TensorSpec((None, 2), tf.float32)))
    with pytest.raises(ModelFailed, match=r"shape \(\) for 2 rows"):
        score(model, [[1.0, 2.0], [3.0, 4.0]])


def test_what_keras_exports(tmp_path: Path) -> None:
    import keras

    network = keras.Sequential([keras.Input((4,), name="rows"), keras.layers.Dense(3)])
    network.export(tmp_path, verbose=False)
    model = load(tmp_path)
    assert model.methods == ("predict",), "its second name for the same signature is left out"
    np.testing.assert_allclose(score(model, ROWS).arrays[0], network(ROWS).numpy(), rtol=1e-5, atol=1e-6)


def test_models_of_images(tmp_path: Path, make_app: Any) -> None:
    import io

    from PIL import Image

    save(tmp_path, lambda x: {"y": tf.reduce_mean(x, (1, 2))}, tf.TensorSpec((None, 8, 8, 3), tf.float32, name="x"))
    config = {"size": 8, "data_format": "channels_last", "top_k": 1}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    (tmp_path / "labels.json").write_text('["red", "green", "blue"]')
    client = make_app(load(tmp_path), framework="tensorflow").test_client()
    for color, label in (((255, 0, 0), "red"), ((0, 0, 255), "blue")):
        file = io.BytesIO()
        Image.new("RGB", (20, 10), color).save(file, "PNG")
        answer = client.post("/score", data=file.getvalue(), content_type="image/png").get_json()
        assert [best["label"] for best in answer[0]] == [label]


def test_twenty_pictures_in_every_way(tmp_path: Path, make_app: Any) -> None:
    weights = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, len(pictures.LABELS))), tf.float32)

    def network(x: Any) -> Any:
        return {"y": tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, weights, 1, "VALID")), (1, 2))}

    save(tmp_path, network, tf.TensorSpec((None, pictures.SIDE, pictures.SIDE, 3), tf.float32, name="x"))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pictures.CONFIG | {"data_format": "channels_last"}))
    (tmp_path / "labels.json").write_text(json.dumps(pictures.LABELS))
    own = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    logits = own(x=tf.constant(pictures.pixels(channels_last=True)))["y"].numpy()
    pictures.check_answers(make_app(load(tmp_path), framework="tensorflow"), logits, pictures.LABELS)


def test_where_a_folder_may_lie(tmp_path: Path, network_folder: Path) -> None:
    shutil.copytree(network_folder, tmp_path / "1")
    assert load(tmp_path).methods == load(tmp_path / "1" / "saved_model.pb").methods
    shutil.copytree(network_folder, tmp_path / "2")
    assert refused(load, tmp_path) == (
        "ModelNotFound",
        f"{tmp_path} has the SavedModels 1, 2; point the model's address at one of them",
    )


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "no SavedModel (saved_model.pb)"),
        ("model.keras", "a .keras file is served with `framework: keras`"),
        ("model.h5", "an .h5 file is Keras' old format"),
    ],
)
def test_folders_without_a_model(tmp_path: Path, file: str | None, said: str) -> None:
    if file:
        (tmp_path / file).write_bytes(b"x")
    reason, message = refused(load, tmp_path)
    assert (reason, said in message) == ("ModelNotFound", True), message


def damage(folder: Path, what: str) -> None:
    if what == "program":
        (folder / "saved_model.pb").write_bytes(b"\x00damaged" * 20)
    elif what == "weights":
        data = next((folder / "variables").glob("*.data*"))
        data.write_bytes(data.read_bytes()[:10])
    elif what == "no weights":
        shutil.rmtree(folder / "variables")
    else:
        change_program(folder, what)


def change_program(folder: Path, what: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    if what == "tags":
        graph.meta_info_def.tags[:] = ["train"]
    else:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.op = "OperatorOfTomorrow" if node.op == "Softmax" else node.op
        graph.meta_info_def.tensorflow_version = "99.0"
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.mark.parametrize(
    ("what", "reason", "said"),
    [
        ("program", "ModelInvalid", "saved_model.pb is not a SavedModel, or it is damaged"),
        ("weights", "ModelInvalid", "are damaged or cut off"),
        ("no weights", "ModelNotFound", "has no folder variables with its weights"),
        ("tags", "ModelInvalid", "has no graph for serving (tag serve)"),
        ("operator", "ModelIncompatible", "saved by TensorFlow 99.0 and uses an operator that TensorFlow"),
    ],
)
def test_damaged_models(tmp_path: Path, network_folder: Path, what: str, reason: str, said: str) -> None:
    shutil.copytree(network_folder, tmp_path / "model")
    damage(tmp_path / "model", what)
    found, message = refused(load, tmp_path)
    assert (found, said in message) == (reason, True), message


def test_a_model_without_signatures(tmp_path: Path) -> None:
    module = tf.Module()
    module.v = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path))
    reason, message = refused(load, tmp_path)
    assert (reason, "has no signatures, which say what it takes" in message) == ("ModelInvalid", True)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (tf.TensorSpec((), tf.float32, name="x"), "has no axes"),
        (tf.TensorSpec((None, 2), tf.complex64, name="x"), "which cannot be sent"),
    ],
)
def test_inputs_that_cannot_be_sent(tmp_path: Path, spec: Any, said: str) -> None:
    reason, message = refused(load, save(tmp_path, lambda x: {"y": x}, spec))
    assert (reason, said in message) == ("ModelInvalid", True), message


def test_larger_than_the_memory(network_folder: Path) -> None:
    assert refused(load, network_folder, memory_limit_bytes=1000)[0] == "ModelTooLarge"


def test_no_gpu(network_folder: Path) -> None:
    if tf.config.list_physical_devices("GPU"):
        assert load(network_folder, device="cuda").methods
    else:
        assert "TensorFlow finds no CUDA GPU" in refused(load, network_folder, device="cuda")[1]


def test_threads_follow_the_cores(network_folder: Path) -> None:
    # TensorFlow is told once in a process, before it first computes: in one of its own.
    code = (
        "import sys; from pathlib import Path; from scoring_runtime.frameworks import LoadOptions, load_model; "
        "load_model('tensorflow', Path(sys.argv[1]), LoadOptions(device='cpu', cores=3)); "
        "from tensorflow.config import threading as told; "
        "print(told.get_intra_op_parallelism_threads(), told.get_inter_op_parallelism_threads())"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "runtime")}
    command = [sys.executable, "-c", code, str(network_folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.split() == ["3", "1"]
    assert done.stderr == "", "what TensorFlow says by itself is not JSON"
