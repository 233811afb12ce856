"""LightGBM models in its own text format: trees and numbers, no code.

`predict` gives what `Booster.predict` gives; the other methods have the names of its arguments. The file has as many
iterations as `save_model` wrote, by default up to the best one of early stopping. LightGBM scores on the CPU only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb

from scoring_runtime.errors import StartupError
from scoring_runtime.frameworks import LoadOptions, boosters
from scoring_runtime.frameworks.causes import one_line, refused
from scoring_runtime.frameworks.features import Features
from scoring_runtime.frameworks.lightgbmfile import Header, categories_of, explained, read_header
from scoring_runtime.frameworks.modelfile import check_content, check_memory
from scoring_runtime.tensors import Array, Signature, Tensors

SUFFIXES = (".txt", ".lgb", ".model")
ARGUMENTS = ("raw_score", "pred_leaf", "pred_contrib")
_BINARY, _SEVERAL = ("binary",), ("multiclass", "multiclassova")


class LightgbmModel:
    """A Booster and what the head of its file says of it."""

    platform = "lightgbm"
    warnings: tuple[str, ...] = ()

    def __init__(self, booster: Any, header: Header, cores: int = 1) -> None:
        self.booster = booster
        self.header = header
        self._cores = cores
        objective = header.objective
        classes = booster.num_model_per_iteration()
        known = objective in _BINARY + _SEVERAL
        also = boosters.class_methods(objective in _BINARY, classes if objective in _SEVERAL else 1) if known else ()
        self.methods = (boosters.PREDICT, *also, *ARGUMENTS)
        categories, note = categories_of(header, booster.pandas_categorical)
        if note:
            self.warnings = (note,)
        self.features = Features(booster.num_feature(), "float64", _names(booster), categories)
        dtypes = {**dict.fromkeys(self.methods, "float64"), boosters.CLASSES: "int64", "pred_leaf": "int32"}
        self.signature = Signature(self.features.inputs, boosters.outputs(self.methods, classes, dtypes))

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. All features as one float64 matrix, which LightGBM would make of them too."""
        return Tensors((self.features.matrix(inputs),))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        rows = inputs.arrays[0]
        threads = self._cores if len(rows) >= boosters.ROWS_FOR_THREADS else 1
        wanted = {method: True} if method in ARGUMENTS else {}
        try:
            result: Array = self.booster.predict(rows, num_threads=threads, **wanted)
        except lgb.basic.LightGBMError as error:
            raise refused(one_line(error)) from error
        if method == boosters.PROBABILITIES:
            result = boosters.probabilities(result)
        elif method == boosters.CLASSES:
            result = boosters.likeliest(result)
        return Tensors((result,))


class _Silent:
    """What goes wrong comes as an exception; LightGBM's own lines are not JSON."""

    def info(self, text: str) -> None:
        """Say nothing."""

    warning = info


def load(path: Path, options: LoadOptions) -> LightgbmModel:
    """Load the model file at or in `path`. Raises a StartupError that names the cause."""
    file = boosters.find_booster_file(path, SUFFIXES, "lightgbm")
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    header = read_header(file)
    lgb.register_logger(_Silent())
    try:
        return LightgbmModel(lgb.Booster(model_file=str(file)), header, options.cores)
    except StartupError:
        raise
    except Exception as error:
        raise explained(file, error) from error


def _names(booster: Any) -> tuple[str, ...] | None:
    """Return the features' names, or None for those that LightGBM makes up itself."""
    names = tuple(booster.feature_name())
    return None if names == tuple(f"Column_{number}" for number in range(len(names))) else names
