"""The models under measurement, with inputs and the answers that the library itself gives to them.

    python -m benchmarks.runtime.models [NAME …]

makes them once, seeded, in ~/.cache/scoring-operator/bench/models/NAME:

pipeline   StandardScaler + LogisticRegression on the four iris features
forest     100 trees on 100 features (its rows are also those of the binary benchmark)
wide       StandardScaler + LogisticRegression on the same 100 features
faq        two columns of text, each through TF-IDF, into gradient-boosted trees
resnet50, resnet152   torchvision's architectures with random weights, as TorchScript; JPEG files in

`cases.json` beside each model has the inputs and the answers; for images these are the three likeliest classes.
"""

from __future__ import annotations

import io
import json
import random
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtime.environments import CACHE

# Raise it when this file makes other models than before.
RECIPE = 2
SEED = 7
CASES = 64
IMAGES = 8
FEATURES = 100
TOPICS = 8
CLASSES = 1000
IMAGE_SIZE = (500, 375)
FAQ_COLUMNS = ("question", "details")
_MARKER = ".made-by"
# What Hugging Face's image processors read and write; the values are those that ResNets are trained with.
PREPROCESSING = {
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


@dataclass(frozen=True)
class BenchModel:
    """A model in the cache."""

    name: str
    folder: Path
    framework: str
    """The runtime's name of the library."""
    inputs: list[Any]
    """One row a case: a list of numbers, an object of texts, or the path of a JPEG file."""
    answers: list[Any]
    """What the library itself answers: a class, or for images a list of [label, probability], likeliest first."""

    @property
    def file(self) -> Path:
        """The model file."""
        return self.folder / ("model.joblib" if self.framework == "sklearn" else "model.pt")


def ensure(name: str) -> BenchModel:
    """Return a model, made now if the cache has none by this code."""
    folder = CACHE / "models" / name
    framework, library = ("pytorch", "torch") if name.startswith("resnet") else ("sklearn", "scikit-learn")
    code = f"recipe {RECIPE}, {library} {version(library)}"
    marker = folder / _MARKER
    if not marker.is_file() or marker.read_text() != code:
        print(f"==> making the model {name} in {folder}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        MAKERS[name](folder)
        marker.write_text(code)
    cases = json.loads((folder / "cases.json").read_text())
    return BenchModel(name, folder, framework, cases["inputs"], cases["answers"])


def _save(folder: Path, estimator: Any, inputs: list[Any], answers: list[Any]) -> None:
    import joblib

    joblib.dump(estimator, folder / "model.joblib")
    (folder / "cases.json").write_text(json.dumps({"inputs": inputs, "answers": answers}))


def _make_pipeline(folder: Path) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, species = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, species)
    rows = features[np.random.default_rng(SEED).choice(len(features), CASES, replace=False)]
    _save(folder, model, rows.tolist(), model.predict(rows).tolist())


def _tabular() -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    features, labels = make_classification(
        4000, FEATURES, n_informative=20, n_classes=4, random_state=SEED, class_sep=1.5
    )
    # As float32 sees them, so that binary and JSON requests have the same rows.
    return features.round(3).astype(np.float32), labels


def _make_forest(folder: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    features, labels = _tabular()
    model = RandomForestClassifier(100, random_state=SEED).fit(features, labels)
    _save_wide(folder, model, features)


def _make_wide(folder: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _tabular()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
    _save_wide(folder, model, features)


def _save_wide(folder: Path, model: Any, features: Any) -> None:
    rows = features[:1000]
    np.save(folder / "rows.npy", rows)
    np.save(folder / "classes.npy", model.predict(rows))
    few = rows[:CASES].astype(np.float64).round(3)
    _save(folder, model, few.tolist(), model.predict(few).tolist())


def _make_faq(folder: Path) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    table, topics = _questions(2000)
    frame = pd.DataFrame(table, columns=list(FAQ_COLUMNS))
    columns = [(name, TfidfVectorizer(max_features=300), name) for name in FAQ_COLUMNS]
    model = make_pipeline(
        ColumnTransformer(columns, sparse_threshold=0), HistGradientBoostingClassifier(max_iter=30, random_state=SEED)
    ).fit(frame, topics)
    # What is left of training: NumPy 1, which Triton's Python needs, cannot read a generator that NumPy 2 wrote.
    model[-1]._feature_subsample_rng = None
    few = frame.head(CASES)
    _save(folder, model, few.to_dict("records"), model.predict(few).tolist())


def _questions(count: int) -> tuple[list[tuple[str, str]], list[int]]:
    """Return made-up questions on TOPICS subjects, each a title and a longer text, and their subjects."""
    chance = random.Random(SEED)  # noqa: S311  # not for secrets
    syllables = ["ka", "lo", "mi", "ter", "son", "ba", "re", "tu", "gra", "pel", "no", "vi"]
    words = ["".join(chance.choices(syllables, k=chance.randint(2, 4))) for _ in range(600)]
    subjects = [chance.sample(words, 40) for _ in range(TOPICS)]
    table, topics = [], []
    for _ in range(count):
        topic = chance.randrange(TOPICS)
        title, text = (
            " ".join(chance.choices(subjects[topic], k=own) + chance.choices(words, k=other))
            for own, other in ((3, 4), (12, 25))
        )
        table.append((title, text))
        topics.append(topic)
    return table, topics


def _make_resnet(folder: Path, depth: int) -> None:
    import torch
    import torchvision

    from benchmarks.runtime.servers.images import TORCH_THREADS, decode, top_classes

    torch.manual_seed(SEED)
    torch.set_num_threads(TORCH_THREADS)
    files = _images(folder)
    network = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    # Spread the probabilities, so that the order of the likeliest classes is no accident of rounding.
    network.fc.weight.data *= 20
    batch = torch.from_numpy(np.stack([decode(file.read_bytes()) for file in files]))
    _settle_norms(network, batch)
    with torch.inference_mode(), warnings.catch_warnings():
        # torch.jit is what TorchScript is written with, and says that torch.export is newer.
        warnings.simplefilter("ignore")
        traced = torch.jit.freeze(torch.jit.trace(network.eval(), batch[:1]))
        torch.jit.save(traced, folder / "model.pt")
        answers = [top_classes(row) for row in traced(batch).numpy()]
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING, indent=1))
    (folder / "labels.json").write_text(json.dumps([f"class {number}" for number in range(CLASSES)]))
    cases = {"inputs": [str(file) for file in files], "answers": answers}
    (folder / "cases.json").write_text(json.dumps(cases))


def _settle_norms(network: Any, batch: Any) -> None:
    """Give the batch norms the statistics of some images; random weights alone would blow up with depth."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        network(batch)


def _images(folder: Path) -> list[Path]:
    """Write JPEG files as large as photographs are: smooth shapes and noise."""
    from PIL import Image

    chance = np.random.default_rng(SEED)
    files = []
    for number in range(IMAGES):
        coarse = chance.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(IMAGE_SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + chance.integers(-20, 21, smooth.shape, dtype=np.int16)
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        file = folder / f"image-{number}.jpg"
        file.write_bytes(stream.getvalue())
        files.append(file)
    return files


MAKERS: dict[str, Callable[[Path], None]] = {
    "pipeline": _make_pipeline,
    "forest": _make_forest,
    "wide": _make_wide,
    "faq": _make_faq,
    "resnet50": lambda folder: _make_resnet(folder, 50),
    "resnet152": lambda folder: _make_resnet(folder, 152),
}


if __name__ == "__main__":
    for wanted in sys.argv[1:] or MAKERS:
        ensure(wanted)
