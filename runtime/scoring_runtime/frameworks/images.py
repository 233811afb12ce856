"""Models of images: encoded files in, class names with probabilities out.

A PyTorch or ONNX model with a `preprocessor_config.json` beside it takes JPEG, PNG, WebP, GIF, BMP and TIFF files. They
are decoded and brought to the model's form in the threads of their requests, while the model scores the batch before.
"""

from __future__ import annotations

import base64
import binascii
import copy
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from scoring_runtime.errors import InputInvalid, ModelFailed, ModelInvalid
from scoring_runtime.frameworks import PREPROCESSING_FILE, LoadOptions, Model
from scoring_runtime.frameworks.classes import likeliest, likeliest_specs, softmax
from scoring_runtime.frameworks.imageconfig import Preprocessing, Resize, read_labels, read_preprocessing
from scoring_runtime.tensors import Array, Signature, Tensors, TensorSpec

# Pillow reads many more, some by running other programs; these are what clients send.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 64_000_000
"""The largest image, in pixels: 256 MB of memory while it is decoded."""
_ORIENTATION = 0x0112
_INPUT = "image"


class ImageModel:
    """A model behind its preprocessing. `labels` are the names of its classes, empty where they are not known."""

    def __init__(self, model: Model, preprocessing: Preprocessing, labels: tuple[str, ...]) -> None:
        if len(model.signature.inputs) > 1:
            names = ", ".join(spec.name for spec in model.signature.inputs)
            raise ModelInvalid(f"the model has the inputs {names}; a model of images has one")
        # A file of its own says how much is too much; Pillow's warning at half of that is not for clients.
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        self._model = model
        self._preprocessing = preprocessing
        self._labels = np.array(labels, dtype=object)
        self._top_k = min(preprocessing.top_k, len(labels))
        self.platform = model.platform
        self.warnings = model.warnings
        self.methods = ("predict", "predict_proba", "logits") if labels else model.methods
        self.signature = Signature((TensorSpec(_INPUT, "object", (-1,)),), self._outputs())
        _check_labels(model.signature, len(labels))

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Takes files as bytes, or as text in base64; numbers go to the model as they are."""
        if len(inputs.arrays) != 1:
            raise InputInvalid("send one image in each row")
        rows = inputs.arrays[0]
        if rows.dtype.kind in "fiub":
            return self._model.prepare(Tensors((rows,)), self._model.methods[0])
        if rows.ndim == 2 and rows.shape[1] == 1:
            rows = rows.reshape(-1)
        if rows.ndim != 1:
            raise InputInvalid(f"send a list of images, each a file in base64; got the shape {list(rows.shape)}")
        images = [
            to_array(decode(_file(cell, number), number), self._preprocessing) for number, cell in enumerate(rows)
        ]
        if any(image.shape != images[0].shape for image in images):
            raise InputInvalid("this model takes images of any size, but all of one request must have the same")
        batch = images[0][np.newaxis] if len(images) == 1 else np.stack(images)
        return self._model.prepare(Tensors((batch,)), self._model.methods[0])

    def with_module(self, change: Callable[[Any], Any]) -> ImageModel:
        """Return a copy around what `change` makes of the model's module, which one of PyTorch has."""
        changed = copy.copy(self)
        changed._model = self._model.with_module(change)  # type: ignore[attr-defined]
        return changed

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`. With labels: the likeliest of each row, or one value for each class."""
        result = self._model.predict(inputs, self._model.methods[0])
        if not len(self._labels):
            return result
        scores = _class_scores(result)
        if scores.shape[1] != len(self._labels):
            raise ModelFailed(f"the model has {scores.shape[1]} classes, and {len(self._labels)} have a name")
        if method == "logits":
            return Tensors((scores,))
        probabilities = softmax(scores) if self._preprocessing.output == "logits" else scores
        if method == "predict_proba":
            return Tensors((probabilities,))
        return likeliest(self._labels, probabilities, self._top_k)

    def _outputs(self) -> tuple[TensorSpec, ...]:
        classes = len(self._labels)
        if not classes:
            return self._model.signature.outputs
        return likeliest_specs(self._top_k)


def load_with_images(load: Callable[[Path, LoadOptions], Model], path: Path, options: LoadOptions) -> ImageModel:
    """Load a model and what lies beside it for images. Raises a StartupError that names the cause."""
    folder = path if path.is_dir() else path.parent
    preprocessing = read_preprocessing(folder / PREPROCESSING_FILE)
    labels = read_labels(folder)
    return ImageModel(load(path, options), preprocessing, labels)


def decode(file: bytes, number: int = 0) -> Image.Image:
    """Return the image in a file, the right way up. `number` is its row, for the message of InputInvalid."""
    try:
        image: Image.Image = Image.open(BytesIO(file), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(number)
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(number) from None
    except UnidentifiedImageError:
        raise InputInvalid(f"row {number} is no image; send a {', '.join(FORMATS)} file, in JSON as base64") from None
    # What Pillow's decoders raise for files that are cut off or damaged.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise InputInvalid(f"the image in row {number} is damaged or cut off ({error})") from None
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return image


def to_array(image: Image.Image, steps: Preprocessing) -> Array:
    """Return an image as the model's input: float32, [channels, height, width] or, channels last, the other way."""
    image = _with_mode(image, "RGB" if steps.channels == 3 else "L")
    if steps.resize is not None:
        image = _resized(image, steps.resize)
    if steps.crop is not None:
        image = _cropped(image, *steps.crop)
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if steps.flip_channels:
        pixels = pixels[:, :, ::-1]
    scale, offset = np.array(steps.scale, np.float32), np.array(steps.offset, np.float32)
    if steps.layout == "channels_first":
        pixels, scale, offset = pixels.transpose(2, 0, 1), scale[:, None, None], offset[:, None, None]
    result = np.empty(pixels.shape, np.float32)
    np.multiply(pixels, scale, out=result)
    result += offset
    return result


def _file(cell: Any, number: int) -> bytes:
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, str):
        raise InputInvalid(f"row {number} is no image but a {type(cell).__name__}; send the file in base64")
    # Browsers make URLs like data:image/png;base64,iVBORw0…
    text = cell.partition(",")[2] if cell.startswith("data:") else cell
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputInvalid(
            f"row {number} is not base64; send the image's file in base64, or as a binary body"
        ) from None


def _with_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would cut off what is above 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Image.Image, resize: Resize) -> Image.Image:
    width, height = resize.width, resize.height
    if resize.shortest:
        short, long = sorted(image.size)
        other = int(resize.shortest * long / short)
        width, height = (resize.shortest, other) if image.width <= image.height else (other, resize.shortest)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling(resize.resample))


def _cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the middle; an image that is smaller gets a black border."""
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def _class_scores(result: Tensors) -> Array:
    """Return the array with one value for each class: the one named logits, or the first."""
    names = result.names or ()
    scores = result.arrays[names.index("logits") if "logits" in names else 0]
    if scores.ndim > 2:
        scores = scores.reshape(len(scores), -1)
    if scores.ndim != 2 or scores.dtype.kind != "f":
        raise ModelFailed("a model of images with labels must return one number for each class and row")
    return scores


def _check_labels(signature: Signature, labels: int) -> None:
    shapes = [spec.shape for spec in signature.outputs if len(spec.shape) == 2 and spec.shape[1] > 0]
    if labels and len(signature.outputs) == 1 and shapes and shapes[0][1] != labels:
        raise ModelInvalid(f"the model has {shapes[0][1]} classes, and there are names for {labels}")


def _too_large(number: int) -> InputInvalid:
    return InputInvalid(f"the image in row {number} has more than {MAX_PIXELS:,} pixels; send a smaller one")
