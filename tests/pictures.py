"""Twenty pictures as files, and whether a model behind its app answers to them what its library does, in every way."""

import base64
import io
from typing import Any

import numpy as np
from flask import Flask
from PIL import Image

from tests.runtime.answers import infer

SIDE = 16
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CONFIG = {
    "size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "image_mean": MEAN,
    "image_std": DEVIATION,
    "do_normalize": True,
}
"""The preprocessor_config.json that says what `pixels` does."""
LABELS = ["ant", "bee", "cat", "dog", "elk"]


def _file(number: int) -> bytes:
    chance, stream = np.random.default_rng(number), io.BytesIO()
    blocks = Image.fromarray(chance.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    picture = blocks.resize((30 + number, 50 - number), Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG" if number % 2 else "PNG")
    return stream.getvalue()


FILES = [_file(number) for number in range(20)]


def pixels(channels_last: bool = False) -> Any:
    """What the library's own model is to be given: float32, [20, 3, 16, 16] or [20, 16, 16, 3]."""
    found = []
    for file in FILES:
        picture = Image.open(io.BytesIO(file)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        found.append((np.asarray(picture) / 255 - MEAN) / DEVIATION)
    images = np.stack(found).astype(np.float32)
    return images if channels_last else images.transpose(0, 3, 1, 2)


def check_answers(app: Flask, logits: Any, labels: list[str]) -> None:
    """Compare the answers at /score (as files, and in JSON) and of V2's binary tensors with the library's logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    client, close = app.test_client(), {"rtol": 1e-4, "atol": 1e-5}
    assert len({tuple(np.argsort(-row)) for row in chances}) > 1, "pictures that all look the same tell nothing"

    def check(found: Any, expected: Any) -> None:
        order = np.argsort(-expected)[: len(found)]
        assert [best["label"] for best in found] == [labels[at] for at in order]
        np.testing.assert_allclose([best["probability"] for best in found], expected[order], **close)

    texts = [base64.b64encode(file).decode() for file in FILES]
    together = client.post("/score", json={"data": texts}).get_json()
    for number, (file, expected) in enumerate(zip(FILES, chances, strict=True)):
        kind = "image/jpeg" if number % 2 else "image/png"
        (alone,) = client.post("/score", data=file, content_type=kind).get_json()
        check(alone, expected)
        check(together[number], expected)
    given = {"image": np.array(FILES, dtype=object)}
    found = infer(app, given)
    assert found["label"].shape == found["probability"].shape == (20, len(together[0]))
    for names, values, expected in zip(found["label"], found["probability"], chances, strict=True):
        check(
            [{"label": name, "probability": value} for name, value in zip(names, values, strict=True)],
            expected,
        )
    np.testing.assert_allclose(infer(app, given, method="predict_proba")["predict_proba"], chances, **close)
    np.testing.assert_allclose(infer(app, given, method="logits")["logits"], logits, rtol=1e-4, atol=1e-4)
