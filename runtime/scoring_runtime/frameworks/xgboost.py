"""XGBoost models in its own formats, JSON and UBJSON: trees and numbers, no code.

`predict` gives what `Booster.predict` gives; the other methods have the names of its arguments. A file that XGBoost's
scikit-learn interface saved knows the best iteration of early stopping and is asked for that many, as that interface
does; one that a Booster saved has all.
"""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from scoring_runtime.errors import InputInvalid, ModelInvalid, ModelLoadFailed
from scoring_runtime.frameworks import LoadOptions, boosters
from scoring_runtime.frameworks.causes import batch_too_large, refused
from scoring_runtime.frameworks.features import Categories, Features
from scoring_runtime.frameworks.modelfile import check_content, check_memory
from scoring_runtime.frameworks.xgboostfile import cause_of, check_whole, explained, version_notes
from scoring_runtime.tensors import Array, Signature, Tensors

SUFFIXES = (".json", ".ubj", ".model")
ARGUMENTS = ("output_margin", "pred_leaf", "pred_contribs")
_SAVED_BY_SKLEARN, _BEST_ITERATION = "scikit_learn", "best_iteration"
_TREES, _LINEAR = "gbtree", "gblinear"
_CATEGORY, _STRING = "c", "offsets"


class XgboostModel:
    """A Booster and what its file says of it."""

    platform = "xgboost"

    def __init__(self, booster: Any, cores: int = 1, notes: tuple[str, ...] = ()) -> None:
        self.booster = booster
        self._cores, self._threads = cores, 0
        self.warnings = notes
        learner = json.loads(booster.save_config())["learner"]
        objective, sizes = learner["objective"]["name"], learner["learner_model_param"]
        self._classes = int(sizes["num_class"])
        width = max(self._classes if objective != "multi:softmax" else 1, int(sizes["num_target"]))
        kind = learner["gradient_booster"]["name"]
        linear = kind == _LINEAR
        # Without a DMatrix, which copies the rows, where that gives the same: dart adds up its trees in another order.
        self._in_place = kind == _TREES and not _on_gpu(booster)
        self.iterations = _iterations(booster)
        several_targets = int(sizes["num_target"]) > 1
        methods = [boosters.PREDICT]
        if not several_targets and objective in ("binary:logistic", "multi:softprob"):
            methods += boosters.class_methods(objective == "binary:logistic", self._classes)
        elif objective == "multi:softmax":
            methods.append(boosters.CLASSES)
        methods += [name for name in ARGUMENTS if not (linear and name == "pred_leaf")]
        self.methods = tuple(methods)
        self.features = _features(booster)
        dtypes = {**dict.fromkeys(self.methods, "float32"), boosters.CLASSES: "int64"}
        self.signature = Signature(self.features.inputs, boosters.outputs(self.methods, width, dtypes))

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. All features as one float32 matrix, which XGBoost would make of them too."""
        matrix = self.features.matrix(inputs)
        if np.isinf(matrix).any():
            raise InputInvalid("XGBoost takes no infinite values; send null for a missing one")
        return Tensors((matrix,))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        rows = inputs.arrays[0]
        self._use_threads(self._cores if len(rows) >= boosters.ROWS_FOR_THREADS else 1)
        try:
            result = self._call(rows, method)
        except xgb.core.XGBoostError as error:
            said = cause_of(error)
            if "out of memory" in said or "bad_alloc" in said:
                raise batch_too_large() from error
            raise refused(said) from error
        return Tensors((result,))

    def _call(self, rows: Array, method: str) -> Array:
        if method in ARGUMENTS:
            return self._by_matrix(rows, **{method: True})
        predicted = self._predicted(rows)
        if method == boosters.PROBABILITIES:
            return boosters.probabilities(predicted)
        if method == boosters.CLASSES:
            # multi:softmax gives the class itself, as a float.
            of_softmax = self._classes > 1 and predicted.ndim == 1
            return predicted.astype(np.int64) if of_softmax else boosters.likeliest(predicted)
        return predicted

    def _predicted(self, rows: Array) -> Array:
        if not self._in_place:
            return self._by_matrix(rows)
        result: Array = self.booster.inplace_predict(rows, iteration_range=self.iterations, validate_features=False)
        return result

    def _by_matrix(self, rows: Array, **wanted: bool) -> Array:
        data = xgb.DMatrix(rows, nthread=self._threads)
        result: Array = self.booster.predict(data, iteration_range=self.iterations, validate_features=False, **wanted)
        return result

    def _use_threads(self, threads: int) -> None:
        if threads != self._threads:
            self.booster.set_param({"nthread": threads})
            self._threads = threads


def load(path: Path, options: LoadOptions) -> XgboostModel:
    """Load the model file at or in `path`. Raises a StartupError that names the cause."""
    file = boosters.find_booster_file(path, SUFFIXES, "xgboost")
    check_content(file, may_be_json=True)
    check_memory(file, options.memory_limit_bytes)
    check_whole(file)
    with warnings.catch_warnings(), xgb.config_context(verbosity=0):
        # It guesses the format of a .model by its content and says so.
        warnings.simplefilter("ignore")
        try:
            booster = xgb.Booster({"nthread": options.cores}, model_file=str(file))
            booster.set_param({"device": "cpu" if options.device == "cpu" else "cuda", "verbosity": 0})
            on_gpu = _on_gpu(booster)
        except (xgb.core.XGBoostError, MemoryError, UnicodeDecodeError) as error:
            raise explained(file, error) from error
        if options.device == "cuda" and not on_gpu:
            raise ModelLoadFailed(
                "SCORING_DEVICE=cuda and XGBoost finds no CUDA GPU; ask for one with `gpu: 1`, and check that the "
                "image has XGBoost with CUDA (FRAMEWORKS=xgboost-gpu) and the node its driver"
            )
        if booster.num_features() == 0:
            raise ModelInvalid(
                f"{file.name} holds an XGBoost model that was never trained; train it before it is saved"
            )
        return XgboostModel(booster, options.cores, version_notes(file))


def _on_gpu(booster: Any) -> bool:
    """Whether it computes on a GPU; where there is none, XGBoost goes back to the CPU by itself."""
    device = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    return str(device).startswith("cuda")


def _iterations(booster: Any) -> tuple[int, int]:
    """Return which iterations count; (0, 0) means all."""
    best = booster.attr(_BEST_ITERATION)
    if best is None or booster.attr(_SAVED_BY_SKLEARN) is None:
        return 0, 0
    return 0, int(best) + 1


def _features(booster: Any) -> Features:
    names, types = booster.feature_names, booster.feature_types
    count = booster.num_features()
    return Features(
        count,
        "float32",
        None if names is None else tuple(names),
        _categories(booster) if types is not None and _CATEGORY in types else {},
        unknown_is_missing=False,
    )


def _categories(booster: Any) -> dict[int, Categories]:
    """Return the categories of the features that were trained on values; others were trained on positions."""
    trees = json.loads(booster.save_raw(raw_format="json"))["learner"]["gradient_booster"]
    # dart has its trees in a gbtree of its own.
    encoded = trees.get("gbtree", trees)["model"].get("cats", {}).get("enc", [])
    found = {at: _values(one) for at, one in enumerate(encoded)}
    return {at: values for at, values in found.items() if values}


def _values(encoded: Any) -> Categories:
    """Return the values of one feature: numbers as they are, texts as the bytes between offsets."""
    if _STRING not in encoded:
        return list(encoded["values"])
    content = bytes(value & 0xFF for value in encoded["values"])
    offsets = encoded[_STRING]
    return [content[start:stop].decode("utf-8", "replace") for start, stop in pairwise(offsets)]
