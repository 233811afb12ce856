"""What `preprocessor_config.json` says about turning an image into a model's input, and the names of its classes.

The form is that of Hugging Face's image processors
(https://huggingface.co/docs/transformers/main_classes/image_processor): resize, crop, rescale, normalize. An operation
that it asks for and that is not done here is refused when the model is loaded: leaving it out would make wrong answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scoring_runtime.errors import ModelInvalid
from scoring_runtime.frameworks.modelfile import read_json, read_json_object

LABELS_FILE = "labels.json"
MODEL_CONFIG_FILE = "config.json"
DEFAULT_TOP_K = 3
_OPERATIONS = ("resize", "center_crop", "rescale", "normalize", "convert_rgb", "flip_channel_order")
# They prepare training targets, or have no meaning for an image that is only classified.
_IGNORED = ("do_reduce_labels",)
# Processors that scale the image up by 1 / crop_pct and crop it where the size is below 384 (ConvNeXT's rule).
_CROP_PCT_BELOW = 384


@dataclass(frozen=True)
class Resize:
    """How large an image is made, in pixels: to exactly `height` and `width`, or its shorter side to `shortest`."""

    height: int = 0
    width: int = 0
    shortest: int = 0
    resample: int = 2
    """Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming."""


@dataclass(frozen=True)
class Preprocessing:
    """The steps, in their order; None where one is left out."""

    resize: Resize | None
    crop: tuple[int, int] | None
    """Height and width of what is cut from the middle, in pixels."""
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    """For each channel: a pixel's value, 0 to 255, times `scale`, plus `offset`."""
    flip_channels: bool = False
    """Blue first."""
    layout: Literal["channels_first", "channels_last"] = "channels_first"
    top_k: int = DEFAULT_TOP_K
    output: Literal["logits", "probabilities"] = "logits"
    """What the model returns for each class: logits, to which a softmax is applied, or probabilities already."""

    @property
    def channels(self) -> int:
        """1 for gray images, 3 for color."""
        return len(self.scale)


def read_preprocessing(file: Path) -> Preprocessing:
    """Read a preprocessor_config.json. Raises ModelInvalid with what is missing or not supported."""
    config = read_json_object(file)
    asked = [name for name, value in config.items() if name.startswith("do_") and value and name not in _IGNORED]
    unknown = sorted(set(asked) - {f"do_{name}" for name in _OPERATIONS})
    if unknown:
        raise ModelInvalid(f"{file.name} asks for {', '.join(unknown)}, which is not done here; do it inside the model")
    try:
        resize, crop = _geometry(config)
        scale, offset = _normalization(config)
        return Preprocessing(
            resize,
            crop,
            scale,
            offset,
            flip_channels=bool(config.get("do_flip_channel_order", False)),
            layout=_one_of(config, "data_format", ("channels_first", "channels_last")),
            top_k=_positive(config.get("top_k", DEFAULT_TOP_K), "top_k"),
            output=_one_of(config, "output", ("logits", "probabilities")),
        )
    except (KeyError, TypeError, ValueError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelInvalid(f"{file.name} cannot be used: {said}") from None


def read_labels(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes, from labels.json or from config.json's id2label; empty where there are none.

    Raises ModelInvalid for files that are neither a list of names nor an object of them by number.
    """
    file = folder / LABELS_FILE
    if file.is_file():
        return _labels(read_json(file), file.name)
    config = folder / MODEL_CONFIG_FILE
    if config.is_file():
        named = read_json_object(config).get("id2label")
        return _labels(named, f"id2label in {config.name}") if named else ()
    return ()


def _labels(labels: Any, where: str) -> tuple[str, ...]:
    if isinstance(labels, dict):
        try:
            numbered = {int(number): label for number, label in labels.items()}
            labels = [numbered[number] for number in range(len(numbered))]
        except (KeyError, ValueError):
            raise ModelInvalid(f"{where} must have the names of classes 0 to {len(labels) - 1}") from None
    if isinstance(labels, list) and labels:
        # ImageNet's own list has pairs: ["n01440764", "tench"].
        names = [label[-1] if isinstance(label, list) and label else label for label in labels]
        if all(isinstance(name, str) for name in names):
            return tuple(names)
    raise ModelInvalid(f'{where} must be a list of names, ["cat", "dog"], or an object, {{"0": "cat", "1": "dog"}}')


def _geometry(config: Mapping[str, Any]) -> tuple[Resize | None, tuple[int, int] | None]:
    crop = None
    # Hugging Face's processors differ in whether they crop by default; those that do write the size down.
    if config.get("do_center_crop", "crop_size" in config):
        height, width = _pair(config["crop_size"], "crop_size")
        crop = (height, width)
    if not config.get("do_resize", True):
        return None, crop
    resample = config.get("resample", 2)
    if resample not in range(6):
        raise ValueError(f"resample is {resample!r}; it is the number of one of Pillow's filters, 0 to 5")
    size = config["size"]
    if "crop_pct" in config and config["crop_pct"] is not None:
        return _with_crop_pct(_shortest(size), float(config["crop_pct"]), resample)
    # A plain number means the shorter side for processors that crop, and a square for the others.
    if (isinstance(size, dict) and "shortest_edge" in size) or (isinstance(size, int) and crop is not None):
        if isinstance(size, dict) and "longest_edge" in size:
            raise ValueError("size has a longest_edge, which is not done here; use height and width")
        return Resize(shortest=_shortest(size), resample=resample), crop
    height, width = _pair(size, "size")
    return Resize(height, width, resample=resample), crop


def _with_crop_pct(size: int, share: float, resample: int) -> tuple[Resize, tuple[int, int] | None]:
    if size >= _CROP_PCT_BELOW:
        return Resize(size, size, resample=resample), None
    if not 0 < share <= 1:
        raise ValueError(f"crop_pct is {share}; it must be over 0 and at most 1")
    return Resize(shortest=int(size / share), resample=resample), (size, size)


def _shortest(size: Any) -> int:
    return _positive(size["shortest_edge"] if isinstance(size, dict) else size, "size")


def _pair(size: Any, name: str) -> tuple[int, int]:
    if isinstance(size, dict):
        return _positive(size["height"], f"{name}.height"), _positive(size["width"], f"{name}.width")
    side = _positive(size, name)
    return side, side


def _normalization(config: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return rescaling and normalization as one scale and one offset for each channel."""
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", "image_mean" in config):
        return (factor,) * 3, (0.0,) * 3
    means, deviations = ([float(value) for value in config[name]] for name in ("image_mean", "image_std"))
    if len(means) != len(deviations) or len(means) not in (1, 3) or 0 in deviations:
        raise ValueError("image_mean and image_std must have 3 numbers each, or 1 for gray images, and no deviation 0")
    pairs = list(zip(means, deviations, strict=True))
    return tuple(factor / deviation for _, deviation in pairs), tuple(-mean / deviation for mean, deviation in pairs)


def _one_of(config: Mapping[str, Any], name: str, allowed: tuple[Any, ...]) -> Any:
    value = config.get(name, allowed[0])
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(allowed)}")
    return value


def _positive(value: Any, name: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return value
