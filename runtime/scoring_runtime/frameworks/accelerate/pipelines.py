"""scikit-learn's models as ONNX graphs, by its own maintained converter, skl2onnx.

Graphs take float64, as the estimators do. Estimators that compare in float32 whatever they are given (trees) get a cast
in front, as skl2onnx's manual advises.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from skl2onnx.sklapi import CastTransformer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from scoring_runtime.frameworks import LoadOptions, estimators
from scoring_runtime.frameworks.accelerate.conversion import Answer, NotConvertibleError, cpu_session
from scoring_runtime.frameworks.accelerate.inputs import NUMBER, ROWS_INPUT, TEXT, WHOLE, Inputs, inputs_of
from scoring_runtime.frameworks.causes import one_line
from scoring_runtime.tensors import Array, Tensors

_IN_FLOAT32 = (BaseDecisionTree, BaseForest, BaseGradientBoosting)
_TYPES = {NUMBER: DoubleTensorType, WHOLE: Int64TensorType, TEXT: StringTensorType}
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_OPSET = {"": 17, "ai.onnx.ml": 3}


class ConvertedPipeline:
    """A session; for classifiers its outputs are the class and a score of each class."""

    def __init__(self, session: Any, inputs: Inputs, methods: tuple[str, ...], *, classifier: bool) -> None:
        self._session = session
        self._inputs = inputs
        self._classifier = classifier
        self._outputs = [output.name for output in session.get_outputs()]
        self.methods = methods
        self._narrow = True
        self.probes: Sequence[Tensors] = (inputs.probe(np.float64),)
        self.narrow_probes: Sequence[Tensors] = () if inputs.of_text else (inputs.probe(np.float32),)

    def leave_narrow(self) -> None:
        """See `Conversion.leave_narrow`."""
        self._narrow = False

    def run(self, inputs: Tensors, method: str) -> Answer | None:
        """See `Conversion.run`."""
        narrow = any(array.dtype.kind == "f" and array.dtype != np.float64 for array in inputs.arrays)
        fed = None if narrow and not self._narrow else self._inputs.feed(inputs)
        if fed is None:
            return None
        if not self._classifier:
            values: Array = self._session.run(self._outputs[:1], fed)[0]
            return Answer(values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values)
        classes, scores = self._session.run(self._outputs[:2], fed)
        return Answer(scores) if method == "predict_proba" else Answer(classes, scores)


def convert(original: Any, options: LoadOptions) -> ConvertedPipeline:
    """Return the conversion of a SklearnModel. Raises NotConvertibleError."""
    estimator = original.estimator
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        raise NotConvertibleError("it has several targets, for which there is no converter here")
    text = estimators.takes_text(estimator)
    if not text and getattr(estimator, "n_features_in_", None) is None:
        raise NotConvertibleError("it does not know how many features it takes")
    names = getattr(estimator, "feature_names_in_", None)
    inputs = inputs_of(estimator, None if names is None else [str(name) for name in names], text=text)
    methods = tuple(method for method in ("predict", "predict_proba") if method in original.methods)
    classifier = classes is not None and "predict_proba" in methods
    session = _session(_graph(estimator, inputs, scored="predict_proba" in methods), options.cores)
    return ConvertedPipeline(session, inputs, methods, classifier=classifier)


def _session(model: Any, cores: int) -> Any:
    """Return a session for a graph, whatever float type skl2onnx declares of what it gives.

    It is wrong about ensembles of trees, which give float32, and about sums of parts of both types.
    """
    try:
        return cpu_session(model.SerializeToString(), cores)
    except NotConvertibleError as error:
        first = error
    for declared in _FLOATS:
        for output in model.graph.output:
            if output.type.tensor_type.elem_type in _FLOATS:
                output.type.tensor_type.elem_type = declared
        try:
            return cpu_session(model.SerializeToString(), cores)
        except NotConvertibleError:
            continue
    raise first


def _graph(estimator: Any, inputs: Inputs, *, scored: bool) -> Any:
    if inputs.names is None:
        column, width = inputs.columns[0], len(inputs.columns)
        types = [(ROWS_INPUT, _TYPES[column.kind]([None, width]))]
    else:
        pairs = zip(inputs.names, inputs.columns, strict=True)
        types = [(name, _TYPES[column.kind]([None, 1])) for name, column in pairs]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"zipmap": False} if scored else None
            return to_onnx(
                _with_casts(_without_imputers(estimator)), initial_types=types, options=options, target_opset=_OPSET
            )
    except (MissingConverter, MissingShapeCalculator) as error:
        named = re.search(r"<class '([\w.]+)'>", str(error))
        raise NotConvertibleError(f"there is no converter for {named[1] if named else 'it'}") from error
    except Exception as error:
        raise NotConvertibleError(f"it cannot be converted ({one_line(error)})") from error


def _with_casts(estimator: Any) -> Any:
    steps = list(estimator.steps) if isinstance(estimator, Pipeline) else [("model", estimator)]
    if isinstance(steps[-1][1], _IN_FLOAT32):
        steps.insert(-1, ("as-float32", CastTransformer(dtype=np.float32)))
    return Pipeline(steps) if len(steps) > 1 else estimator


def _without_imputers(estimator: Any) -> Any:
    """Return the estimator without the steps that change nothing where nothing is missing.

    Rows with missing values are the original's, and ONNX Runtime has no imputer of float64.
    """
    if isinstance(estimator, Pipeline):
        steps = [(name, _without_imputers(step)) for name, step in estimator.steps if not _fills_in(step)]
        return Pipeline(steps or [("nothing", "passthrough")])
    if isinstance(estimator, ColumnTransformer):
        reduced = copy.copy(estimator)
        reduced.transformers_ = [
            (name, "passthrough" if _fills_in(part) else _without_imputers(part), chosen)
            for name, part, chosen in estimator.transformers_
        ]
        return reduced
    return estimator


def _fills_in(step: Any) -> bool:
    """Whether a step keeps all columns, and all values that are there."""
    if not isinstance(step, SimpleImputer) or step.add_indicator:
        return False
    missing, values = step.missing_values, np.asarray(step.statistics_)
    nothing_else = missing is None or (isinstance(missing, float) and np.isnan(missing))
    return nothing_else and all(value is not None and value == value for value in values.tolist())  # noqa: PLR0124
