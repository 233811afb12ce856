"""Train a scikit-learn pipeline on the iris data and save it beside the entry script that answers with it.

    python examples/script/train.py OUT_DIR

writes OUT_DIR/model.joblib and OUT_DIR/score.py and prints the model's sha256.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(folder: Path) -> str:
    """Write the model and its script to `folder`; return the model's sha256."""
    features, species = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, species)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.joblib"
    joblib.dump(pipeline, model)
    shutil.copy(Path(__file__).with_name("score.py"), folder)
    return hashlib.sha256(model.read_bytes()).hexdigest()


def main() -> None:
    """Read the folder from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/script/train.py OUT_DIR")
    sys.stdout.write(train(Path(sys.argv[1])) + "\n")


if __name__ == "__main__":
    main()
