"""`accelerate: onnx`: scikit-learn models and boosted trees, run by ONNX Runtime where that gives the same answers.

Most of what one row costs in these libraries is Python, and ONNX Runtime has none. A model is converted when it is
loaded, compared with the original, and used only if they agree: on the sample request, and on generated rows that go
where conversions go wrong, to the thresholds of trees. The original stays: it answers what the conversion does not
(other methods, missing and infinite values, unknown categories), and rows whose class a rounding error could change.
Where anything speaks against the conversion, the original answers everything, and a warning says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import numpy as np

from scoring_runtime.errors import RequestError
from scoring_runtime.frameworks import LoadOptions, Model
from scoring_runtime.frameworks.accelerate.agreement import any_undecided, compared, times_faster, undecided
from scoring_runtime.frameworks.accelerate.conversion import Conversion, NotConvertibleError
from scoring_runtime.frameworks.causes import one_line
from scoring_runtime.tensors import Array, Signature, Tensors

_CONVERTERS = {
    "sklearn": "scoring_runtime.frameworks.accelerate.pipelines",
    "xgboost": "scoring_runtime.frameworks.accelerate.boosted",
    "lightgbm": "scoring_runtime.frameworks.accelerate.boosted",
}
_logger = logging.getLogger(__name__)


class AcceleratedModel:
    """A model, and what answers in its place where it can; without a conversion the model alone."""

    def __init__(self, original: Model, conversion: Conversion | None, about: Mapping[str, str | float]) -> None:
        self._original = original
        self._conversion = conversion
        self.methods = original.methods
        self.platform = original.platform
        self.signature: Signature = original.signature
        self.parameters = dict(about)
        reason = about.get("accelerate_reason")
        self.warnings = (*original.warnings, *([str(reason)] if reason else []))
        self._dtypes: dict[str, np.dtype[np.generic]] = {}

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`; the original's."""
        return self._original.prepare(inputs, method)

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        conversion = self._conversion
        if conversion is None or method not in conversion.methods:
            return self._original.predict(inputs, method)
        answer = conversion.run(inputs, method)
        if answer is None:
            return self._original.predict(inputs, method)
        values = answer.values.astype(self._dtype(inputs, method), copy=False)
        if answer.scores is not None and any_undecided(answer.scores):
            close = undecided(answer.scores)
            values = np.array(values)
            values[close] = self._original.predict(_rows(inputs, close), method).arrays[0]
        return Tensors((values,))

    def _dtype(self, inputs: Tensors, method: str) -> np.dtype[np.generic]:
        """Return the dtype of the original's answers."""
        if method not in self._dtypes:
            self._dtypes[method] = self._original.predict(inputs.slice(0, 1), method).arrays[0].dtype
        return self._dtypes[method]


def accelerated(framework: str, original: Model, options: LoadOptions) -> Model:
    """Return the model with a conversion, if there is one that agrees with it; in any case one that says so."""
    try:
        conversion, difference = _converted(framework, original, options)
    except Exception as error:
        if not isinstance(error, NotConvertibleError):
            # A converter is a guest here: the model is served whatever happens to it.
            _logger.debug("converting the model raised %s", type(error).__name__, exc_info=error)
        known = isinstance(error, NotConvertibleError)
        return _unconverted(original, str(error) if known else f"{type(error).__name__}: {one_line(error)}")
    model = AcceleratedModel(original, conversion, {})
    method, row = conversion.methods[0], conversion.probes[0].slice(0, 1)
    factor = times_faster(lambda: original.predict(row, method), lambda: model.predict(row, method))
    if factor < 1:
        return _unconverted(original, f"one row takes {1 / factor:.1f} times as long when it is converted")
    about = {"accelerate_times_faster": round(factor, 1), "accelerate_largest_difference": float(f"{difference:.1g}")}
    model.parameters.update({"accelerate": "onnx", **about})
    _logger.info("the model was converted to ONNX; one row is %.1f times faster", factor, extra=about)
    return model


def _unconverted(original: Model, why: str) -> Model:
    said = f"accelerate: onnx is not used, and the model is served as it is: {why}"
    return AcceleratedModel(original, None, {"accelerate": "none", "accelerate_reason": said})


def _converted(framework: str, original: Model, options: LoadOptions) -> tuple[Conversion, float]:
    """Return a conversion that agrees with the model, and by how much its values differ all the same."""
    try:
        convert: Callable[[Model, LoadOptions], Conversion] = import_module(_CONVERTERS[framework]).convert
    except ImportError as error:
        raise NotConvertibleError(
            f"this image has no {error.name}; use the one for {framework}, or add the packages of the extra accelerate"
        ) from error
    conversion = convert(original, options)
    probes = [*_sample(original, options), *conversion.probes]
    wide = [compared(original, conversion, method, probes) for method in conversion.methods]
    for found in wide:
        if found.disagreement is not None:
            raise NotConvertibleError(found.disagreement)
    narrow = [compared(original, conversion, method, conversion.narrow_probes) for method in conversion.methods]
    if any(found.disagreement is not None for found in narrow):
        conversion.leave_narrow()
        narrow = []
    return conversion, max(found.largest for found in [*wide, *narrow])


def _sample(original: Model, options: LoadOptions) -> Sequence[Tensors]:
    if options.sample is None:
        return ()
    inputs, method = options.sample
    try:
        return (original.prepare(inputs, method or original.methods[0]),)
    except RequestError:
        # Who scores it before the model is ready says so.
        return ()


def _rows(inputs: Tensors, wanted: Array) -> Tensors:
    return Tensors(tuple(array[wanted] for array in inputs.arrays), inputs.names)
