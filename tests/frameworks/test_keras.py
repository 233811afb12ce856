"""Keras 3 models: what they take and give, what is refused before Keras sees it, and every file that is none.

- inputs: one, several by name in lists and dicts, whole numbers, text (with TensorFlow), of another shape;
- outputs: one, several in lists and dicts; a fixed number of rows;
- files: Lambda layers, classes and functions of others, damaged, of another version, too large, other formats;
- the same answers as Keras' own, through /score and V2;
- an entry script as users of Azure ML write them (tests/runtime/test_script_azure_samples.py has its like).
"""

import json
import os
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import pictures
from tests.runtime.answers import infer, loader, refused, score

os.environ.setdefault("KERAS_BACKEND", "tensorflow" if find_spec("tensorflow") else "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras

from scoring_runtime.errors import InputInvalid, InputRejected
from scoring_runtime.tensors import TensorSpec

load = loader("keras")

ROWS = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
pytestmark = [
    # Of Keras itself, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


def network() -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax", name="scores")]
    return keras.Sequential([keras.Input((4,), name="rows"), *layers])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A network and the folder with its file."""
    folder, made = tmp_path_factory.mktemp("keras"), network()
    made.save(folder / "model.keras")
    return made, folder


def test_what_a_model_says_of_itself(saved: tuple[Any, Path]) -> None:
    model = load(saved[1])
    assert (model.methods, model.warnings) == (("predict",), ())
    assert model.platform == f"keras_{keras.config.backend()}"
    assert model.signature.inputs == (TensorSpec("rows", "float32", (-1, 4)),)
    assert model.signature.outputs == (TensorSpec("scores", "float32", (-1, 3)),)


def test_the_answers_are_kerass_own(make_app: Any, saved: tuple[Any, Path]) -> None:
    app = make_app(load(saved[1]), framework="keras", batch_max_size=4096)
    expected = saved[0].predict_on_batch(ROWS)
    np.testing.assert_allclose(infer(app, {"rows": ROWS})["scores"], expected, rtol=1e-5, atol=1e-7)
    answer = app.test_client().post("/score", json={"data": ROWS.tolist()})
    np.testing.assert_allclose(np.array(answer.get_json()), expected, rtol=1e-5, atol=1e-7)


def test_inputs_and_outputs_in_lists(tmp_path: Path) -> None:
    size, kind = keras.Input((2,), name="size"), keras.Input((1,), dtype="int32", name="kind")
    known = keras.layers.Flatten()(keras.layers.Embedding(5, 3)(kind))
    joined = keras.layers.Concatenate()([size, known])
    heads = [keras.layers.Dense(2, name="left")(joined), keras.layers.Dense(1, name="right")(joined)]
    made = keras.Model([size, kind], heads)
    made.save(tmp_path / "model.keras")
    model, sizes, kinds = load(tmp_path), ROWS[:9, :2], np.arange(9) % 5
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [("size", "float32"), ("kind", "int32")]
    expected = made.predict_on_batch([sizes, kinds.reshape(-1, 1)])
    for result in (score(model, sizes, kinds), score(model, kinds, sizes, names=("kind", "size"))):
        assert result.names == ("left", "right")
        for found, wanted in zip(result.arrays, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputInvalid, match="input kind is int32, and there is a value that this type does not have"):
        score(model, sizes, kinds + 0.5)


def test_inputs_and_outputs_in_dicts(tmp_path: Path) -> None:
    left, right = keras.Input((1,), name="left"), keras.Input((1,), name="right")
    outputs = {"sum": keras.layers.Add()([left, right]), "difference": keras.layers.Subtract()([left, right])}
    keras.Model({"right": right, "left": left}, outputs).save(tmp_path / "model.keras")
    model = load(tmp_path)
    result = score(model, [2.0, 3.0], [1.0, 5.0], names=("right", "left"))
    found = dict(zip(result.names or (), (array.ravel().tolist() for array in result.arrays), strict=True))
    assert found == {"sum": [3.0, 8.0], "difference": [-1.0, 2.0]}


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_a_fixed_number_of_rows(tmp_path: Path, rows: int) -> None:
    given = keras.Input(batch_shape=(3, 4))
    made = keras.Model(given, keras.layers.Dense(2)(given))
    made.save(tmp_path / "model.keras")
    model = load(tmp_path)
    weights, bias = (np.asarray(part) for part in made.get_weights())
    np.testing.assert_allclose(score(model, ROWS[:rows]).arrays[0], ROWS[:rows] @ weights + bias, rtol=1e-4, atol=1e-5)


def test_layers_of_text(tmp_path: Path) -> None:
    """They need TensorFlow: with it they work, without it a sentence says so."""
    network().save(tmp_path / "model.keras")
    lookup = {"name": "lookup", "dtype": "int64", "vocabulary": ["good", "bad"]}
    texts = {"name": "input", "dtype": "string", "batch_shape": [None, 1]}
    layers = [
        {"module": "keras.layers", "class_name": name, "config": config, "registered_name": None}
        for name, config in (("InputLayer", texts), ("StringLookup", lookup))
    ]
    described = {"module": "keras", "class_name": "Sequential", "config": {"name": "words", "layers": layers}}
    rewrite(tmp_path / "model.keras", {"config.json": json.dumps(described).encode()})
    if keras.config.backend() == "tensorflow":
        model = load(tmp_path)
        assert model.signature.inputs[0].dtype == "object"
        assert score(model, np.array(["good", "bad", "other"], object)).arrays[0].tolist() == [[1], [2], [0]]
    else:
        reason, message = refused(load, tmp_path)
        assert (reason, "has a layer that needs TensorFlow" in message) == ("FrameworkMissing", True), message


def test_values_that_the_model_refuses(tmp_path: Path) -> None:
    given = keras.Input((None, None))
    keras.Model(given, keras.layers.Dense(2)(keras.layers.Reshape((4,))(given))).save(tmp_path / "model.keras")
    model = load(tmp_path)
    assert score(model, np.ones((2, 2, 2))).arrays[0].shape == (2, 2)
    with pytest.raises(InputRejected, match="the model refused the input: ") as raised:
        score(model, np.ones((2, 3, 3)))
    assert "\n" not in raised.value.message
    assert "\x1b" not in raised.value.message


class Own(keras.layers.Layer):
    def call(self, rows: Any) -> Any:
        return rows


def own_activation(rows: Any) -> Any:
    return rows


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: keras.layers.Lambda(lambda rows: rows, name="secret"), "Python code in the Lambda layer secret"),
        (lambda: keras.layers.Dense(2, activation=lambda rows: rows), "Python code in a lambda"),
        (Own, "needs Own, which is not in Keras"),
        (lambda: keras.layers.Dense(2, activation=own_activation), "needs own_activation, which is not in Keras"),
        (lambda: keras.layers.TimeDistributed(Own()), "needs Own, which is not in Keras"),
    ],
)
def test_other_peoples_code_is_never_run(tmp_path: Path, layer: Any, said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Keras itself says that saving a lambda is unsafe.
        keras.Sequential([keras.Input((4, 4)), layer()]).save(tmp_path / "model.keras")
    reason, message = refused(load, tmp_path)
    assert (reason, said in message) == ("ModelInvalid", True), message
    assert "model.export(folder)" in message, "the safe way"


def rewrite(file: Path, members: dict[str, bytes]) -> None:
    """Replace members of the archive."""
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()} | members
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def change(file: Path, old: str, new: str, member: str = "config.json") -> None:
    """Replace words in a member of the archive."""
    with zipfile.ZipFile(file) as archive:
        content = archive.read(member)
    assert old.encode() in content
    rewrite(file, {member: content.replace(old.encode(), new.encode())})


def test_modules_of_others_are_not_imported(tmp_path: Path) -> None:
    network().save(tmp_path / "model.keras")
    (tmp_path / "keras_evil.py").write_text("raise SystemExit('imported')")
    change(tmp_path / "model.keras", '"keras.layers", "class_name": "Dense"', '"keras_evil", "class_name": "Dense"')
    assert "needs Dense, which is not in Keras" in refused(load, tmp_path)[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "model.keras is empty"),
        (b"\x00\x01" * 300, "model.keras is not a .keras file, or it is damaged"),
        (b"<html>Sign in</html>", "is a web page"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "model.keras").write_bytes(content)
    reason, message = refused(load, tmp_path)
    assert (reason, said in message) == ("ModelInvalid", True), message


def test_archives_that_are_no_models(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    for members, said in (
        ({"a": b""}, "has no config.json"),
        ({"config.json": b"{"}, "config.json in model.keras is damaged"),
        ({"config.json": b"[]"}, "it must be an object"),
        ({"config.json": json.dumps({"class_name": "Dense", "config": {}}).encode()}, "is not a Keras model"),
    ):
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        reason, message = refused(load, tmp_path)
        assert (reason, said in message) == ("ModelInvalid", True), message


def test_another_version(tmp_path: Path, saved: tuple[Any, Path]) -> None:
    network().save(tmp_path / "model.keras")
    change(tmp_path / "model.keras", keras.__version__, "99.0.0", "metadata.json")
    (warning,) = load(tmp_path).warnings
    assert f"was saved with Keras 99.0.0 and is read by {keras.__version__}" in warning
    change(tmp_path / "model.keras", '"class_name": "Dense"', '"class_name": "DenseOfTomorrow"')
    reason, message = refused(load, tmp_path)
    assert reason == "ModelIncompatible"
    assert f"was saved with Keras 99.0.0 and cannot be read by {keras.__version__}" in message


@pytest.mark.parametrize("file", ["model.h5", "saved_model.pb"])
def test_other_formats(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"x")
    reason, message = refused(load, tmp_path)
    assert (reason, "no model file (.keras)" in message and file in message) == ("ModelNotFound", True), message


def test_larger_than_the_memory(saved: tuple[Any, Path]) -> None:
    assert refused(load, saved[1], memory_limit_bytes=1000)[0] == "ModelTooLarge"


def test_an_entry_script(script_app: Any, script_folder: Any) -> None:
    made = network()
    folder = script_folder("azure/keras_json_h5")
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text(made.to_json())
    made.save(folder / "model" / "model.h5")
    answer = script_app(folder).test_client().post("/score", json={"data": ROWS[:40].tolist()})
    assert answer.get_json() == np.argmax(made.predict(ROWS[:40], verbose=0), axis=1).tolist()


def test_twenty_pictures_in_every_way(tmp_path: Path, make_app: Any) -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(5, 3, activation="relu"), keras.layers.GlobalAveragePooling2D()]
    own = keras.Sequential([keras.Input((pictures.SIDE, pictures.SIDE, 3), name="pixels"), *layers])
    own.save(tmp_path / "model.keras")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pictures.CONFIG | {"data_format": "channels_last"}))
    (tmp_path / "labels.json").write_text(json.dumps(pictures.LABELS))
    logits = own.predict(pictures.pixels(channels_last=True), verbose=0)
    pictures.check_answers(make_app(load(tmp_path), framework="keras"), logits, pictures.LABELS)
