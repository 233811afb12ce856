"""Models in MLflow's form, for the tests of what loads them: trained, saved, changed."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.datasets import load_iris

from tests.runtime.answers import loader

# As the loader does, before MLflow is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.lightgbm
    import mlflow.onnx
    import mlflow.pyfunc
    import mlflow.pytorch
    import mlflow.sklearn
    import mlflow.xgboost


load = loader("mlflow")

FRAME, SPECIES = load_iris(return_X_y=True, as_frame=True)
RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame(
    RANDOM.normal(FRAME.mean(), FRAME.std(), size=(1000, 4)), columns=[str(name) for name in FRAME.columns]
)


def save(module: Any, *args: Any, **kwargs: Any) -> None:
    """Save without looking for what is imported, and without MLflow's advice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.save_model(*args, **{"pip_requirements": [], **kwargs})


def change(folder: Path, **fields: Any) -> None:
    """Change fields of MLmodel."""
    content = yaml.safe_load((folder / "MLmodel").read_text())
    (folder / "MLmodel").write_text(yaml.safe_dump({**content, **fields}))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow would like type hints, and treats rows otherwise then.

    class Sum(mlflow.pyfunc.PythonModel):
        """Answers a data frame."""

        def predict(self, context, model_input, params=None) -> pd.DataFrame:
            if model_input["left"].max() > 100:
                raise ValueError("left is over 100")
            if model_input["left"].max() > 50:
                raise KeyError("secret")
            total = model_input["left"] + model_input.get("right", 0)
            return pd.DataFrame({"sum": total, "text": [f"n{row}" for row in total]})
