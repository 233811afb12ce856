"""The trees of XGBoost and LightGBM as arrays, and an ONNX graph of them.

The converters that there are round LightGBM's thresholds, which are float64, to float32, and need scikit-learn; ONNX's
operator takes either. So the graph is made here: one TreeEnsembleRegressor of what the trees add up to, and behind it
the function of the objective (https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html, version 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from scoring_runtime.frameworks.accelerate.probes import Edges
from scoring_runtime.tensors import Array

ROWS, ANSWER = "rows", "answer"
_OPSET, _TREES_OPSET, _IR_VERSION = 17, 3, 9
_MARGIN = "margin"


@dataclass(frozen=True)
class Tree:
    """One tree; all arrays have an entry for each node, and the first node is the root."""

    target: int
    """Which of the model's numbers it adds to."""
    features: Array
    thresholds: Array
    left: Array
    """Where rows below the threshold go; -1 at leaves."""
    right: Array
    values: Array
    """What leaves add."""
    weights: Array
    """How many rows came to the node in training, more or less."""

    @property
    def inner(self) -> Array:
        """Which nodes are no leaves."""
        inner: Array = self.left >= 0
        return inner


def edges_of(trees: Sequence[Tree]) -> Edges:
    """Return where the trees branch."""
    return Edges().joined(
        [Edges(tree.features[tree.inner], tree.thresholds[tree.inner], tree.weights[tree.inner]) for tree in trees]
    )


@dataclass(frozen=True)
class Ensemble:
    """The trees of a model and what is made of their sums."""

    trees: Sequence[Tree]
    features: int
    targets: int
    dtype: str
    """float32 or float64: of the rows, the thresholds and the leaves."""
    includes_threshold: bool
    """Whether a value that is the threshold goes to the left."""
    operators: Sequence[tuple[str, float | None]] = ()
    """ONNX operators after the sum, each with its second operand if it has one."""
    base: Sequence[float] = ()
    """What is added to each target."""

    def graph(self) -> bytes:
        """Return the ONNX model: [rows, features] in, [rows, targets] of float32 out."""
        nodes = [self._sums()]
        constants = []
        last = _MARGIN
        for number, (name, operand) in enumerate(self.operators):
            inputs, last = [last], f"step{number}"
            if operand is not None:
                constants.append(numpy_helper.from_array(np.array(operand, np.float32), f"operand{number}"))
                inputs.append(f"operand{number}")
            nodes.append(helper.make_node(name, inputs, [last]))
        nodes.append(helper.make_node("Identity", [last], [ANSWER]))
        element = TensorProto.FLOAT if self.dtype == "float32" else TensorProto.DOUBLE
        graph = helper.make_graph(
            nodes,
            "trees",
            [helper.make_tensor_value_info(ROWS, element, [None, self.features])],
            [helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, [None, self.targets])],
            constants,
        )
        domains = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _TREES_OPSET)]
        model = helper.make_model(graph, opset_imports=domains)
        model.ir_version = _IR_VERSION
        content: bytes = model.SerializeToString()
        return content

    def _sums(self) -> NodeProto:
        trees = self.trees
        sizes = [len(tree.features) for tree in trees]
        numbers = np.repeat(np.arange(len(trees)), sizes)
        nodes = np.concatenate([np.arange(size) for size in sizes])
        inner = np.concatenate([tree.inner for tree in trees])
        leaves = ~inner
        branch = "BRANCH_LEQ" if self.includes_threshold else "BRANCH_LT"
        targets = np.repeat([tree.target for tree in trees], sizes)
        attributes = {
            "n_targets": self.targets,
            "nodes_treeids": numbers,
            "nodes_nodeids": nodes,
            "nodes_featureids": np.where(inner, self._all("features"), 0),
            "nodes_modes": [branch if one else "LEAF" for one in inner.tolist()],
            "nodes_truenodeids": np.where(inner, self._all("left"), 0),
            "nodes_falsenodeids": np.where(inner, self._all("right"), 0),
            "target_treeids": numbers[leaves],
            "target_nodeids": nodes[leaves],
            "target_ids": targets[leaves],
            "post_transform": "NONE",
            "aggregate_function": "SUM",
        }
        made = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in attributes.items()}
        floats = {
            "nodes_values": np.where(inner, self._all("thresholds"), 0),
            "target_weights": self._all("values")[leaves],
            "base_values": np.array(self.base or [0.0] * self.targets),
        }
        for name, values in floats.items():
            if self.dtype == "float32":
                made[name] = values.astype(np.float32).tolist()
            else:
                made[f"{name}_as_tensor"] = numpy_helper.from_array(values.astype(np.float64), name)
        return helper.make_node("TreeEnsembleRegressor", [ROWS], [_MARGIN], domain="ai.onnx.ml", **made)

    def _all(self, name: str) -> Array:
        return np.concatenate([getattr(tree, name) for tree in self.trees])
