"""An entry script: `init` runs once in each pod, `run` for each request, and what it returns is the answer as JSON."""

import json
import os
from pathlib import Path

import joblib

SPECIES = ("setosa", "versicolor", "virginica")


def init() -> None:
    """Load the model, which lies beside this script."""
    global model  # noqa: PLW0603 - the form that entry scripts have
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


def run(data: str) -> list[dict[str, object]]:
    """Answer the species of each row of `{"rows": [[four measurements in centimetres], …]}` and how sure it is."""
    chances = model.predict_proba(json.loads(data)["rows"])
    return [{"species": SPECIES[row.argmax()], "probability": round(float(row.max()), 4)} for row in chances]
