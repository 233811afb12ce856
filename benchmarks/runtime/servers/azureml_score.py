"""An entry script for the Azure Machine Learning inference server."""

import json
from typing import Any

import model


def init() -> None:
    """Read the model."""
    global predict  # the form that entry scripts have
    _, predict = model.load()


def run(raw_data: str) -> Any:
    """Answer one request."""
    return predict(json.loads(raw_data)["data"])
