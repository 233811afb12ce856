"""Models of images: files in, names and probabilities out.

- forms of a request: a body that is the file, base64 in JSON, a data: URL, arrays; one image, several, other sizes;
- kinds of files: formats, gray, with transparency, 16 bits, turned by EXIF, damaged, too large, no image at all;
- preprocessing: every step of the configuration, against Pillow and torchvision; what it asks for and is not there;
- answers: the likeliest, probabilities, logits; labels from both files, too few, none; PyTorch and ONNX;
- twenty pictures in every way, compared with the library's own answers.
"""

import base64
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from scoring_runtime.errors import InputInvalid, ModelFailed, StartupError
from scoring_runtime.frameworks import LoadOptions, images, load_model
from scoring_runtime.frameworks.classes import likeliest
from scoring_runtime.frameworks.imageconfig import read_preprocessing
from scoring_runtime.tensors import Tensors
from tests import pictures
from tests.runtime.image_models import (
    DEVIATION,
    LABELS,
    MEAN,
    encoded,
    folder_with,
    load,
    noise,
    picture,
    rows,
    score,
)


@pytest.fixture(scope="module", params=["pytorch", "onnx"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = folder_with(tmp_path_factory.mktemp("images"), framework=request.param)
    return load_model(request.param, folder, LoadOptions(device="cpu"))


def test_the_likeliest_classes(model: Any) -> None:
    result = score(model, encoded(picture((255, 0, 0))), encoded(picture((0, 20, 250))))
    assert result.names == ("label", "probability")
    labels, probabilities = result.arrays
    assert labels.tolist() == [["red", "blue", "green"], ["blue", "green", "red"]]
    assert probabilities.dtype == np.float32
    logits = (np.array([[1, 0, 0], [0, 20 / 255, 250 / 255]]) - MEAN) / DEVIATION
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, -np.sort(-expected, axis=1), rtol=1e-5)
    (raw,) = score(model, encoded(picture((0, 20, 250))), method="logits").arrays
    np.testing.assert_allclose(raw, logits[1:], rtol=1e-5)
    (each,) = score(model, encoded(picture((0, 20, 250))), method="predict_proba").arrays
    np.testing.assert_allclose(each, expected[1:], rtol=1e-5)


def test_what_a_model_says_of_itself(model: Any) -> None:
    assert model.methods == ("predict", "predict_proba", "logits")
    assert model.platform in ("pytorch_torchscript", "onnxruntime_onnx")
    assert [(spec.name, spec.dtype, spec.shape) for spec in model.signature.inputs] == [("image", "object", (-1,))]
    assert [(spec.name, spec.shape) for spec in model.signature.outputs] == [
        ("label", (-1, 3)),
        ("probability", (-1, 3)),
    ]


def test_as_a_service(model: Any, make_app: Any) -> None:
    client = make_app(model).test_client()
    file = encoded(picture((0, 255, 0)), "JPEG")
    text = base64.b64encode(file).decode()
    answers = [
        client.post("/score", data=file, content_type="image/jpeg"),
        client.post("/score", json={"data": [text]}),
        client.post("/score", json={"data": [f"data:image/jpeg;base64,{text}"]}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        ((best, *others),) = answer.get_json()
        assert best["label"] == "green"
        assert best["probability"] > 0.5
        assert sum(record["probability"] for record in (best, *others)) == pytest.approx(1)
    assert client.post("/score", data=b"no image", content_type="image/png").status_code == 400
    many = client.post("/score", json={"data": [text] * 3, "method": "predict_proba"})
    assert np.shape(many.get_json()) == (3, 3)


class Convolution(torch.nn.Module):
    """Small, and with an answer of its own to each picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, len(pictures.LABELS), 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(pixels)).mean(dim=(2, 3)) * 10


def save_convolution(folder: Path, framework: str) -> Any:
    """Save the network in the framework's format; returns the library's own function of its file."""
    network = Convolution().eval()
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures.CONFIG))
    (folder / "labels.json").write_text(json.dumps(pictures.LABELS))
    if framework == "pytorch":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(network).save(str(folder / "model.pt"))
            own = torch.jit.load(str(folder / "model.pt"))
        return lambda pixels: own(torch.from_numpy(pixels.copy())).detach().numpy()
    values = {name: value.detach().numpy() for name, value in network.layer.named_parameters()}
    values["ten"] = np.array(10, np.float32)
    nodes = [
        helper.make_node("Conv", ["pixels", "weight", "bias"], ["found"]),
        helper.make_node("Relu", ["found"], ["positive"]),
        helper.make_node("ReduceMean", ["positive"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["logits"]),
    ]
    ports = [("pixels", ["n", 3, "h", "w"]), ("logits", ["n", len(pictures.LABELS)])]
    described = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in ports]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "graph", *described, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save_model(made, folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


@pytest.mark.parametrize("framework", ["pytorch", "onnx"])
def test_twenty_pictures_in_every_way(tmp_path: Path, make_app: Any, framework: str) -> None:
    own = save_convolution(tmp_path, framework)
    model = load_model(framework, tmp_path, LoadOptions(device="cpu"))
    app = make_app(model, framework=framework)
    pictures.check_answers(app, own(pictures.pixels()), pictures.LABELS)


def test_rows_of_one_batch_keep_their_order(model: Any) -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)] * 3
    result = score(model, *(encoded(picture(color)) for color in colors))
    assert [row[0]["label"] for row in result.slice(1, 8).records()] == (LABELS * 3)[1:8]


def test_arrays_go_to_the_model_as_they_are(model: Any) -> None:
    pixels = np.zeros((2, 3, 5, 5))
    pixels[:, 1] = 7
    prepared = model.prepare(Tensors((pixels,)), "logits")
    np.testing.assert_allclose(model.predict(prepared, "logits").arrays[0], [[0, 7, 0]] * 2)


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.full((4, 4), 128 << 8, np.uint16))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        *[(encoded(picture((10, 200, 30)), form), (10, 200, 30)) for form in ("PNG", "BMP", "GIF", "TIFF")],
        (encoded(picture((10, 200, 30)), "WEBP", lossless=True), (10, 200, 30)),
        (encoded(picture(77, mode="L")), (77, 77, 77)),
        (encoded(picture((10, 200, 30, 0), mode="RGBA")), (10, 200, 30)),
        (encoded(picture(1, mode="1")), (255, 255, 255)),
        (encoded(sixteen_bits()), (128, 128, 128)),
    ],
)
def test_kinds_of_files(file: bytes, expected: tuple[int, int, int]) -> None:
    steps = images.Preprocessing(None, None, (1.0,) * 3, (0.0,) * 3)
    array = images.to_array(images.decode(file), steps)
    assert array.dtype == np.float32
    assert array[:, 0, 0].tolist() == list(expected)


def test_orientation() -> None:
    image = noise(30, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = images.decode(encoded(image, "PNG", exif=exif))
    assert turned.size == (20, 30)
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


WHOLE = encoded(noise(40, 40), "JPEG")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (b"no image", "row 0 is no image; send a JPEG, PNG, WEBP, GIF, BMP, TIFF file"),
        (b"", "row 0 is no image"),
        (WHOLE[: len(WHOLE) // 2], "the image in row 0 is damaged or cut off"),
        (encoded(noise(40, 40))[:-300], "the image in row 0 is damaged or cut off"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "row 0 is no image"),
        ("not base64!", "row 0 is not base64"),
        ("äöü", "row 0 is not base64"),
        (base64.b64encode(b"no image").decode(), "row 0 is no image"),
        (None, "row 0 is no image but a NoneType"),
    ],
)
def test_what_is_no_image(model: Any, cell: Any, said: str) -> None:
    with pytest.raises(InputInvalid, match=said) as raised:
        model.prepare(rows(cell), "predict")
    assert "\n" not in raised.value.message


def test_the_row_of_a_bad_image_is_named(model: Any) -> None:
    with pytest.raises(InputInvalid, match="row 2 is no image"):
        model.prepare(rows(WHOLE, WHOLE, b"?"), "predict")


@pytest.mark.parametrize("times", [1.01, 2.5])
def test_a_bomb_is_not_decoded(model: Any, monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """An image of the size that the limit is lowered to; past twice the limit Pillow itself refuses."""
    monkeypatch.setattr(images, "MAX_PIXELS", int(1600 / times))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(1600 / times))
    with pytest.raises(InputInvalid, match="the image in row 0 has more than"):
        model.prepare(rows(WHOLE), "predict")


def reference(image: Image.Image) -> np.ndarray:
    """Return the pixels in double precision, normalized as the configuration says."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    return ((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)


NORMALIZE = {"image_mean": MEAN, "image_std": DEVIATION, "do_normalize": True}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"size": {"height": 24, "width": 32}}, lambda image: image.resize((32, 24), Image.Resampling.BILINEAR)),
        ({"size": 16, "resample": 3}, lambda image: image.resize((16, 16), Image.Resampling.BICUBIC)),
        ({"size": {"shortest_edge": 30}}, lambda image: image.resize((53, 30), Image.Resampling.BILINEAR)),
        (
            {"size": {"shortest_edge": 30}, "do_center_crop": True, "crop_size": {"height": 20, "width": 21}},
            lambda image: image.resize((53, 30), Image.Resampling.BILINEAR).crop((16, 5, 37, 25)),
        ),
        (
            {"size": 30, "do_center_crop": True, "crop_size": 20},
            lambda image: image.resize((53, 30), Image.Resampling.BILINEAR).crop((16, 5, 36, 25)),
        ),
        (
            {"size": {"shortest_edge": 24}, "crop_pct": 0.8, "resample": 3},
            lambda image: image.resize((53, 30), Image.Resampling.BICUBIC).crop((14, 3, 38, 27)),
        ),
        (
            {"size": {"shortest_edge": 400}, "crop_pct": 0.8},
            lambda image: image.resize((400, 400), Image.Resampling.BILINEAR),
        ),
        ({"do_resize": False}, lambda image: image),
        ({"do_resize": False, "crop_size": 50}, lambda image: image.crop((15, -3, 65, 47))),
    ],
)
def test_geometry(tmp_path: Path, config: dict[str, Any], expected: Any) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**NORMALIZE, **config}))
    image = noise(80, 45)
    found = images.to_array(image, read_preprocessing(tmp_path / "c.json"))
    np.testing.assert_allclose(found, reference(expected(image)), atol=1e-5)
    assert found.flags.c_contiguous


@pytest.mark.slow
def test_the_same_as_torchvision(tmp_path: Path) -> None:
    from torchvision import transforms

    config = {**NORMALIZE, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    usual = transforms.Compose([*steps, transforms.Normalize(MEAN, DEVIATION)])
    for image in (noise(500, 374), noise(300, 400)):
        found = images.to_array(image, read_preprocessing(tmp_path / "c.json"))
        np.testing.assert_allclose(found, usual(image).numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("config", "pixel"),
    [
        ({"do_rescale": True}, [0.2, 0.4, 0.6]),
        ({"do_rescale": False}, [51, 102, 153]),
        ({"rescale_factor": 2.0}, [102, 204, 306]),
        ({"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.1] * 3}, [-3, -1, 1]),
        ({"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.1] * 3}, [0.2, 0.4, 0.6]),
        ({"do_flip_channel_order": True}, [0.6, 0.4, 0.2]),
        ({"data_format": "channels_last"}, [0.2, 0.4, 0.6]),
        ({"image_mean": [0.5], "image_std": [0.5]}, [-0.27059]),
    ],
)
def test_values(tmp_path: Path, config: dict[str, Any], pixel: list[float]) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"do_resize": False, **config}))
    array = images.to_array(picture((51, 102, 153)), read_preprocessing(tmp_path / "c.json"))
    first = array[0, 0] if "data_format" in config else array[:, 0, 0]
    np.testing.assert_allclose(first, pixel, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"do_pad": True}, "asks for do_pad, which is not done here"),
        ({}, "size is missing"),
        ({"size": {"width": 3}}, "height is missing"),
        ({"size": 0}, "size is 0; it must be a whole number of at least 1"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "size has a longest_edge"),
        ({"size": 8, "do_center_crop": True}, "crop_size is missing"),
        ({"size": 8, "resample": 9}, "resample is 9"),
        ({"size": 8, "do_normalize": True}, "image_mean is missing"),
        ({"size": 8, "image_mean": [1, 2], "image_std": [1, 2]}, "must have 3 numbers each"),
        ({"size": 8, "image_mean": [1, 2, 3], "image_std": [1, 0, 2]}, "no deviation 0"),
        ({"size": 8, "crop_pct": 3}, "crop_pct is 3.0"),
        ({"size": 8, "output": "nonsense"}, "output is 'nonsense'; it must be logits or probabilities"),
        ({"size": 8, "top_k": 0}, "top_k is 0"),
        ([], "must be a JSON object"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path: Path, config: Any, said: str) -> None:
    with pytest.raises(StartupError) as raised:
        load(folder_with(tmp_path, config))
    assert (raised.value.reason, said in raised.value.message) == ("ModelInvalid", True), raised.value.message
    assert "\n" not in raised.value.message


def test_images_of_several_sizes_in_one_request(tmp_path: Path) -> None:
    model = load(folder_with(tmp_path, {"do_resize": False}))
    assert len(score(model, encoded(picture(size=(3, 4))))) == 1
    with pytest.raises(InputInvalid, match="all of one request must have the same"):
        score(model, encoded(picture(size=(3, 4))), encoded(picture(size=(4, 3))))


@pytest.mark.parametrize(
    "labels", [LABELS, {"0": "red", "1": "green", "2": "blue"}, [["n1", "red"], ["n2", "green"], ["n3", "blue"]]]
)
def test_forms_of_labels(tmp_path: Path, labels: Any) -> None:
    assert score(load(folder_with(tmp_path, labels=labels)), encoded(picture())).arrays[0][0][0] == "red"


def test_labels_of_the_models_own_configuration(tmp_path: Path) -> None:
    folder_with(tmp_path, labels=None)
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "rot", "1": "grün", "2": "blau"}}))
    assert score(load(tmp_path), encoded(picture())).arrays[0][0][0] == "rot"


@pytest.mark.parametrize("labels", [{"0": "a", "2": "b"}, {"a": "b"}, [1, 2], "a", []])
def test_labels_that_are_none(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(StartupError, match=r"labels\.json must"):
        load(folder_with(tmp_path, labels=labels))


def test_labels_for_another_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="the model has 3 classes, and 2 have a name"):
        score(load(folder_with(tmp_path, labels=LABELS[:2])), encoded(picture()))
    (tmp_path / "onnx").mkdir()
    with pytest.raises(StartupError, match="the model has 3 classes, and there are names for 2"):
        load_model("onnx", folder_with(tmp_path / "onnx", labels=LABELS[:2], framework="onnx"), LoadOptions())


def test_without_labels_the_answer_is_the_models(tmp_path: Path) -> None:
    model = load(folder_with(tmp_path, labels=None))
    assert model.methods == ("predict",)
    result = score(model, encoded(picture((0, 0, 0))))
    np.testing.assert_allclose(result.arrays[0], [-np.array(MEAN) / DEVIATION], rtol=1e-5)


def test_how_many_and_of_what(tmp_path: Path) -> None:
    """The values that the model returns are taken as probabilities when the configuration says so."""
    config = {"size": 4, "top_k": 1, "output": "probabilities"}
    result = score(load(folder_with(tmp_path, config)), encoded(picture((0, 51, 0))))
    assert [array.tolist() for array in result.arrays] == [[["green"]], [[pytest.approx(0.2)]]]


def test_equal_probabilities_are_in_the_order_of_the_classes() -> None:
    (found,) = likeliest(np.array(["a", "b", "c", "d"], object), np.array([[0.2, 0.3, 0.2, 0.3]]), 3).records()
    assert [(one["label"], one["probability"]) for one in found] == [("b", 0.3), ("d", 0.3), ("a", 0.2)]
