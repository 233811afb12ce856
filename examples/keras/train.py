"""Train a small Keras network on the iris data and save it with a sample request.

    python examples/keras/train.py OUT_DIR

writes OUT_DIR/model.keras and OUT_DIR/sample-request.json and prints the model's sha256. It answers a probability for
each species. Needs keras and one of its backends.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import keras
from sklearn.datasets import load_iris


def network() -> keras.Model:
    """Return a trained network from four measures to three probabilities."""
    keras.utils.set_random_seed(0)
    features, species = load_iris(return_X_y=True)
    scaled = keras.layers.Normalization(mean=features.mean(axis=0), variance=features.var(axis=0))
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax", name="species")]
    model = keras.Sequential([keras.Input((4,), name="measures"), scaled, *layers])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(features, species, epochs=30, verbose=0)
    return model


def train(folder: Path) -> str:
    """Write the model and its sample request to `folder`; return the model's sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.keras"
    network().save(model)
    sample = {"data": load_iris().data[[0, 75, 149]].tolist()}
    (folder / "sample-request.json").write_text(json.dumps(sample) + "\n")
    return hashlib.sha256(model.read_bytes()).hexdigest()


def main() -> None:
    """Read the folder from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/keras/train.py OUT_DIR")
    sys.stdout.write(train(Path(sys.argv[1])) + "\n")


if __name__ == "__main__":
    main()
