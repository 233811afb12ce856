"""XGBoost and LightGBM models as ONNX graphs.

Left to the original: trees that ask for categories, linear trees and boosters, dart, objectives whose function is not
known here, and rows with missing values, which these libraries send down a way of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scoring_runtime.frameworks import LoadOptions, boosters
from scoring_runtime.frameworks.accelerate.conversion import Answer, NotConvertibleError, cpu_session
from scoring_runtime.frameworks.accelerate.probes import rows_of_numbers
from scoring_runtime.frameworks.accelerate.trees import ANSWER, ROWS, Ensemble, Tree, edges_of
from scoring_runtime.tensors import Array, Tensors

_SIGMOID, _SOFTMAX, _EXP = (("Sigmoid", None),), (("Softmax", None),), (("Exp", None),)
_BY_OBJECTIVE: Mapping[str, tuple[tuple[str, float | None], ...]] = {
    # XGBoost
    **dict.fromkeys(("reg:squarederror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror"), ()),
    **dict.fromkeys(("binary:logitraw", "rank:ndcg", "rank:map", "rank:pairwise"), ()),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), _SIGMOID),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), _EXP),
    "multi:softprob": _SOFTMAX,
    "multi:softmax": (),
    # LightGBM
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), ()),
    **dict.fromkeys(("lambdarank", "rank_xendcg", ""), ()),
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), _SIGMOID),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), _EXP),
    "multiclass": _SOFTMAX,
}
# How many rows say what a model adds to its trees.
_FEW = 16
# What LightGBM takes for zero (kZeroThreshold in its meta.h).
_ZERO = float(np.float32(1e-35))


class ConvertedBooster:
    """A session, and what each method makes of its answer."""

    def __init__(self, session: Any, model: Any, probes: Array, *, gives_classes: bool) -> None:
        self._session = session
        self._of_lightgbm = model.platform == "lightgbm"
        self._gives_classes = gives_classes
        wanted = (boosters.PREDICT, boosters.PROBABILITIES, boosters.CLASSES)
        self.methods = tuple(method for method in wanted if method in model.methods)
        self.probes: Sequence[Tensors] = (Tensors((probes,)), Tensors((probes[:1],)))
        # All rows have the library's own type.
        self.narrow_probes: Sequence[Tensors] = ()

    def leave_narrow(self) -> None:
        """See `Conversion.leave_narrow`."""

    def run(self, inputs: Tensors, method: str) -> Answer | None:
        """See `Conversion.run`."""
        rows = inputs.arrays[0]
        if not np.isfinite(rows).all():
            return None
        if self._of_lightgbm:
            rows = np.where(np.abs(rows) <= _ZERO, 0.0, rows)
        found: Array = self._session.run([ANSWER], {ROWS: rows})[0]
        if found.shape[1] == 1:
            found = found.reshape(-1)
        if self._gives_classes:
            return Answer(found.argmax(axis=1), found)
        if method == boosters.PROBABILITIES:
            return Answer(boosters.probabilities(found))
        if method == boosters.CLASSES:
            return Answer(boosters.likeliest(found), found if found.ndim == 2 else found - 0.5)
        return Answer(found)


def convert(original: Any, options: LoadOptions) -> ConvertedBooster:
    """Return the conversion of an XgboostModel or a LightgbmModel. Raises NotConvertibleError."""
    objective, ensemble = _of_xgboost(original) if original.platform == "xgboost" else _of_lightgbm(original)
    if options.device == "cuda":
        raise NotConvertibleError("it computes on a GPU")
    if original.features.categories:
        raise NotConvertibleError("its features are categories, for which there is no converter here")
    if objective not in _BY_OBJECTIVE:
        raise NotConvertibleError(f"there is no converter for the objective {objective}")
    edges = edges_of(ensemble.trees)
    centers, widths = _ranges(ensemble, edges.columns, edges.values)
    probes = rows_of_numbers(centers, widths, edges).astype(ensemble.dtype)
    if original.platform == "xgboost":
        ensemble = replace(ensemble, base=_base(original, ensemble, probes[:_FEW], options))
    session = cpu_session(ensemble.graph(), options.cores)
    return ConvertedBooster(session, original, probes, gives_classes=objective == "multi:softmax")


def _ranges(ensemble: Ensemble, columns: Array, thresholds: Array) -> tuple[Array, Array]:
    """Return the middle of each feature's thresholds and how far they lie apart."""
    centers, widths = np.zeros(ensemble.features), np.ones(ensemble.features)
    for feature in range(ensemble.features):
        own = thresholds[columns == feature]
        if len(own):
            centers[feature] = np.median(own)
            widths[feature] = own.std() or max(abs(float(own[0])), 1.0)
    return centers, widths


def _base(original: Any, ensemble: Ensemble, rows: Array, options: LoadOptions) -> list[float]:
    """Return what XGBoost adds to its trees, which files of each version say in another way: asked from itself."""
    margin = original.predict(Tensors((rows,)), "output_margin").arrays[0].reshape(len(rows), -1)
    sums = cpu_session(replace(ensemble, operators=()).graph(), options.cores).run([ANSWER], {ROWS: rows})[0]
    base: list[float] = np.median(margin.astype(np.float64) - sums, axis=0).tolist()
    return base


def _of_xgboost(original: Any) -> tuple[str, Ensemble]:
    learner = json.loads(original.booster.save_raw(raw_format="json"))["learner"]
    objective, booster = learner["objective"]["name"], learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise NotConvertibleError(f"there is no converter for the booster {booster['name']}")
    sizes = learner["learner_model_param"]
    model = booster["model"]
    iterations = original.iterations[1] or len(model["iteration_indptr"]) - 1
    count = model["iteration_indptr"][iterations]
    trees = [
        _xgboost_tree(tree, target)
        for tree, target in zip(model["trees"][:count], model["tree_info"][:count], strict=True)
    ]
    targets = max(int(sizes["num_class"]), int(sizes["num_target"]), 1)
    operators = _BY_OBJECTIVE.get(objective, ())
    features = original.features.count
    return objective, Ensemble(trees, features, targets, "float32", includes_threshold=False, operators=operators)


def _xgboost_tree(tree: Mapping[str, Any], target: int) -> Tree:
    if any(tree["split_type"]):
        raise NotConvertibleError("its trees ask for categories, for which there is no converter here")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise NotConvertibleError("its leaves have several numbers, for which there is no converter here")
    conditions = np.array(tree["split_conditions"], np.float32)
    return Tree(
        target,
        np.array(tree["split_indices"], np.int64),
        conditions.astype(np.float64),
        np.array(tree["left_children"], np.int64),
        np.array(tree["right_children"], np.int64),
        conditions.astype(np.float64),
        np.array(tree["sum_hessian"], np.float64) + 1e-6,
    )


def _of_lightgbm(original: Any) -> tuple[str, Ensemble]:
    text = original.booster.model_to_string()
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    if "\naverage_output" in head:
        raise NotConvertibleError("there is no converter for LightGBM's random forests")
    targets = original.booster.num_model_per_iteration()
    trees = [_lightgbm_tree(block, number % targets) for number, block in enumerate(blocks)]
    objective, parameters = original.header.objective, original.header.fields.get("objective", "").split()[1:]
    if "sqrt" in parameters:
        raise NotConvertibleError("there is no converter for reg_sqrt")
    operators = _BY_OBJECTIVE.get(objective, ())
    steepness = next((part.partition(":")[2] for part in parameters if part.startswith("sigmoid:")), "1")
    if float(steepness) != 1:
        operators = (("Mul", float(steepness)), *operators)
    features = original.features.count
    return objective, Ensemble(trees, features, targets, "float64", includes_threshold=True, operators=operators)


def _lightgbm_tree(block: str, target: int) -> Tree:
    """Read a tree as its file has it: inner nodes from 0 on, leaves as -1, -2, …"""
    fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if fields.get("is_linear", "0") != "0":
        raise NotConvertibleError("its trees are linear, for which there is no converter here")
    values = np.array(fields["leaf_value"].split(), np.float64)
    inner = len(values) - 1
    kinds = _numbers(fields, "decision_type", inner).astype(np.int64)
    if (kinds & 1).any():
        raise NotConvertibleError("its trees ask for categories, for which there is no converter here")
    if ((kinds >> 2) & 3 == 1).any():
        raise NotConvertibleError("zero stands for a missing value, for which there is no converter here")
    nothing, leaves = np.zeros(len(values)), np.full(len(values), -1)

    def children(name: str) -> Array:
        at = _numbers(fields, name, inner).astype(np.int64)
        return np.concatenate([np.where(at < 0, inner - at - 1, at), leaves])

    return Tree(
        target,
        np.concatenate([_numbers(fields, "split_feature", inner), nothing]).astype(np.int64),
        np.concatenate([_numbers(fields, "threshold", inner), nothing]),
        children("left_child"),
        children("right_child"),
        np.concatenate([np.zeros(inner), values]),
        np.concatenate([_numbers(fields, "internal_count", inner) + 1, nothing]),
    )


def _numbers(fields: Mapping[str, str], name: str, count: int) -> Array:
    """Return a line of numbers, which a tree of one leaf does not have."""
    numbers = np.array(fields.get(name, "").split(), np.float64)
    return numbers if len(numbers) == count else np.zeros(count)
