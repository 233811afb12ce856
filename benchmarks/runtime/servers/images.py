"""Decoding images as a data scientist writes it, for the peers and the bare loop."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

TORCH_THREADS = 1
LIKELIEST = 3
SHORTEST, CROP = 256, 224
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_SCALE, _SHIFT = 1 / (255 * STD), -MEAN / STD


def decode(encoded: bytes) -> Any:
    """Return an encoded image as float32 (3, 224, 224): shortest side to 256, the centre, normalised."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    ratio = SHORTEST / min(image.size)
    width, height = round(image.width * ratio), round(image.height * ratio)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    pixels = np.asarray(image.crop((left, top, left + CROP, top + CROP)), dtype=np.float32)
    return np.ascontiguousarray((pixels * _SCALE + _SHIFT).transpose(2, 0, 1))


def top_classes(logits: Any) -> list[tuple[str, float]]:
    """Return the likeliest classes of one row of logits with their probabilities."""
    powers = np.exp(logits - logits.max())
    order = np.argsort(-powers)[:LIKELIEST]
    return [(f"class {index}", float(powers[index] / powers.sum())) for index in order]
