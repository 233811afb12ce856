"""Train a scikit-learn pipeline on the iris data and save it as ONNX with a sample request.

    python examples/onnx/train.py OUT_DIR

writes OUT_DIR/model.onnx and OUT_DIR/sample-request.json and prints the model's sha256. An ONNX file holds no code, and
its server needs no scikit-learn. It answers an object with `label` and `probabilities`. Needs skl2onnx.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(folder: Path) -> str:
    """Write the model and its sample request to `folder`; return the model's sha256."""
    features, species = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, species)
    # zipmap writes probabilities as a list of maps, which few clients expect.
    options = {id(pipeline): {"zipmap": False}}
    network = to_onnx(pipeline, features[:1].astype(np.float32), options=options)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.onnx"
    model.write_bytes(network.SerializeToString())
    sample = {"data": features[[0, 75, 149]].tolist()}
    (folder / "sample-request.json").write_text(json.dumps(sample) + "\n")
    return hashlib.sha256(model.read_bytes()).hexdigest()


def main() -> None:
    """Read the folder from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/onnx/train.py OUT_DIR")
    sys.stdout.write(train(Path(sys.argv[1])) + "\n")


if __name__ == "__main__":
    main()
