"""The model, for the servers that leave loading and predicting to their user.

The harness says by environment which file and what its rows are. Every script beside this one is run by the interpreter
of its own environment, with this folder first on its path.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

FILE = os.environ.get("BENCH_MODEL", "")
KIND = os.environ.get("BENCH_KIND", "numbers")
PORT = int(os.environ.get("BENCH_PORT", "8080"))
NAME = "bench"
MAX_BATCH = 32
Decode = Callable[[Any], Any]
Predict = Callable[[list[Any]], list[Any]]


def load() -> tuple[Decode, Predict]:
    """Return what turns a JSON row into the model's own, and what scores some of these at one time."""
    return _images() if KIND == "images" else _estimator()


def _estimator() -> tuple[Decode, Predict]:
    import joblib
    import numpy as np

    estimator = joblib.load(FILE)
    if KIND == "texts":
        import pandas as pd

        return _as_it_is, lambda rows: estimator.predict(pd.DataFrame(rows)).tolist()
    return _as_it_is, lambda rows: estimator.predict(np.asarray(rows, dtype=np.float64)).tolist()


def _images() -> tuple[Decode, Predict]:
    import numpy as np
    import torch
    from images import TORCH_THREADS, decode, top_classes

    torch.set_num_threads(TORCH_THREADS)
    network = torch.jit.load(FILE)

    def predict(rows: list[Any]) -> list[Any]:
        with torch.inference_mode():
            return [top_classes(logits) for logits in network(torch.from_numpy(np.stack(rows))).numpy()]

    def decode_any(encoded: Any) -> Any:
        return decode(encoded if isinstance(encoded, bytes) else base64.b64decode(encoded))

    return decode_any, predict


def _as_it_is(row: Any) -> Any:
    return row
