"""A small model of images, pictures to ask it about, and what it answers."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image

from scoring_runtime.frameworks import LoadOptions, load_model
from scoring_runtime.tensors import Tensors

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CONFIG = {
    "do_resize": True,
    "size": {"height": 8, "width": 8},
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": DEVIATION,
}
LABELS = ["red", "green", "blue"]


class MeanColor(torch.nn.Module):
    """The mean of each channel: red images have the largest first value."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3))


def folder_with(path: Path, config: Any = CONFIG, labels: Any = LABELS, framework: str = "pytorch") -> Path:
    if framework == "pytorch":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(MeanColor()).save(str(path / "model.pt"))
    else:
        ports = [("pixels", ["n", 3, "h", "w"]), ("logits", ["n", 3])]
        described = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in ports]
        node = helper.make_node("ReduceMean", ["pixels"], ["logits"], axes=[2, 3], keepdims=0)
        model = helper.make_model(
            helper.make_graph([node], "graph", *described), opset_imports=[helper.make_opsetid("", 17)]
        )
        model.ir_version = 9
        onnx.save_model(model, path / "model.onnx")
    (path / "preprocessor_config.json").write_text(json.dumps(config))
    if labels is not None:
        (path / "labels.json").write_text(json.dumps(labels))
    return path


def load(folder: Path) -> Any:
    return load_model("pytorch", folder, LoadOptions(device="cpu"))


def picture(color: Any = (255, 0, 0), size: tuple[int, int] = (20, 10), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rows(*cells: Any) -> Tensors:
    array = np.empty(len(cells), object)
    array[:] = cells
    return Tensors((array,))


def score(model: Any, *cells: Any, method: str = "predict") -> Tensors:
    result: Tensors = model.predict(model.prepare(rows(*cells), method), method)
    return result
