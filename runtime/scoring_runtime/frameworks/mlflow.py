"""Models that MLflow saved: a folder with the file MLmodel.

A model of a library that this runtime reads itself is given to that framework, if MLflow's generic interface (pyfunc)
would answer the same; everything else is loaded by that interface. Loading most of them runs code that the model
brings; `docs/model-safety.md` says what follows from that.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scoring_runtime.errors import (
    FrameworkMissing,
    ModelIncompatible,
    ModelInvalid,
    ModelNotFound,
    StartupError,
)
from scoring_runtime.frameworks import FRAMEWORKS, LoadOptions, Model, load_model
from scoring_runtime.frameworks.causes import check_rows, first_line, refused, too_large
from scoring_runtime.frameworks.matching import match
from scoring_runtime.frameworks.mlmodel import Description, Schema, differences, read_description, read_example
from scoring_runtime.frameworks.modelfile import check_memory
from scoring_runtime.process.threads import limit_loaded_libraries
from scoring_runtime.tensors import Array, Signature, Tensors, TensorSpec, object_array

# Flavors that a framework of this runtime reads, and the field of MLmodel that names their file.
_FILES = {
    "sklearn": "pickled_model",
    "pytorch": "model_data",
    "onnx": "data",
    "xgboost": "data",
    "lightgbm": "data",
}
# Their models as the library's own; those of its interface like scikit-learn's answer classes.
_BOOSTERS = {"xgboost": "xgboost.core.Booster", "lightgbm": "lightgbm.basic.Booster"}
_PYTORCH_FILE = "model.pth"
# What of them is not read here and may be by MLflow: pickled modules, files of another format.
_LEFT_TO_MLFLOW = {
    "pytorch": (ModelInvalid, ModelNotFound, FrameworkMissing),
    **dict.fromkeys(_BOOSTERS, (ModelNotFound, FrameworkMissing)),
}
_CUSTOM = "mlflow.pyfunc.model"
_PREDICT = "predict"


class MlflowModel:
    """A model behind the checks of its signature. `score` gives prepared rows to it."""

    def __init__(self, description: Description, notes: Sequence[str]) -> None:
        self._description = description
        self._schema = description.inputs
        self.warnings = tuple(notes)
        self.methods: tuple[str, ...] = (_PREDICT,)
        self.platform = f"mlflow_{description.loader.removeprefix('mlflow.').partition('.')[0]}"
        # A Python class of the model's maker may look at all rows together.
        self.batches = description.loader != _CUSTOM

    @property
    def signature(self) -> Signature:
        """What MLmodel says of inputs and outputs."""
        return Signature(_specs(self._description.inputs), _specs(self._description.outputs))

    def example(self) -> Tensors | None:
        """Return the example of the input that was saved with the model."""
        return read_example(self._description)

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Columns and tensors get the types of the signature; other columns are left out."""
        return inputs if self._schema is None else _conformed(inputs, self._schema)


class NativeModel(MlflowModel):
    """One that a framework of this runtime loaded."""

    def __init__(self, description: Description, notes: Sequence[str], model: Model) -> None:
        super().__init__(description, (*notes, *model.warnings))
        self._model = model
        first = str(description.function.get("predict_fn") or _PREDICT)
        self.methods = (first, *(name for name in model.methods if name != first))

    @property
    def signature(self) -> Signature:
        """What MLmodel says, and where it says nothing the model itself."""
        said, own = super().signature, self._model.signature
        outputs = own.outputs if self.methods[0] == self._model.methods[0] else ()
        return Signature(said.inputs or own.inputs, outputs or said.outputs)

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`."""
        conformed = super().prepare(inputs, method)
        names = {spec.name for spec in self._model.signature.inputs}
        if conformed.names is not None and set(conformed.names) != names and len(names) <= 1:
            conformed = Tensors((_matrix(conformed),))
        return self._model.prepare(conformed, method)

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        return self._model.predict(inputs, method)


class FunctionModel(MlflowModel):
    """One that MLflow's generic interface loaded."""

    def __init__(self, description: Description, notes: Sequence[str], function: Any) -> None:
        super().__init__(description, notes)
        self._function = function

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        from mlflow.exceptions import MlflowException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = self._function.predict(self._as_input(inputs))
        except (ValueError, TypeError, MlflowException) as error:
            raise refused(first_line(error)) from error
        return _as_tensors(result, len(inputs))

    def _as_input(self, inputs: Tensors) -> Any:
        """Return what MLflow's own server would make of it: a data frame of columns, else arrays."""
        import pandas as pd

        as_frame = self._schema.columns if self._schema is not None else inputs.arrays[0].ndim <= 2
        if inputs.names is None:
            return pd.DataFrame(inputs.arrays[0]) if as_frame else inputs.arrays[0]
        named = dict(zip(inputs.names, inputs.arrays, strict=True))
        if as_frame and all(array.ndim == 1 for array in inputs.arrays):
            return pd.DataFrame(named)
        return named


def load(path: Path, options: LoadOptions) -> MlflowModel:
    """Load the model whose MLmodel is in `path`. Raises a StartupError that names the cause."""
    description = read_description(path)
    check_memory(description.folder, options.memory_limit_bytes)
    wanted = differences(description)
    notes = [f"the model was saved with {', '.join(wanted)}; its results may differ"] if wanted else []
    native = _native(description, options)
    if native is not None:
        return NativeModel(description, notes, native)
    return FunctionModel(description, notes, _function(description, wanted, options))


def _native(description: Description, options: LoadOptions) -> Model | None:
    """Return the model as a framework of this runtime loads it; None where that is not what MLflow would do."""
    flavor = description.loader.removeprefix("mlflow.")
    field = _FILES.get(flavor)
    details = description.flavors.get(flavor)
    if field is None or flavor not in FRAMEWORKS or not isinstance(details, dict) or not details.get(field):
        return None
    schema = description.inputs
    if schema is not None and not (schema.plain and not schema.optional):
        return None
    if flavor in _BOOSTERS and details.get("model_class") != _BOOSTERS[flavor]:
        return None
    file = description.file(details[field])
    try:
        model = load_model(flavor, file / _PYTORCH_FILE if flavor == "pytorch" else file, options)
    except _LEFT_TO_MLFLOW.get(flavor, ()):
        return None
    return model if str(description.function.get("predict_fn") or _PREDICT) in model.methods else None


def _function(description: Description, wanted: Sequence[str], options: LoadOptions) -> Any:
    """Return MLflow's generic model. Raises a StartupError that names the cause, and what differs from the image."""
    # Read when it is imported: nothing is reported to anyone, and its lines on standard error would not be JSON.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow.pyfunc

            loaded = mlflow.pyfunc.load_model(str(description.folder), suppress_warnings=True)
    except MemoryError:
        raise too_large("the model") from None
    except StartupError:
        raise
    except Exception as error:
        raise _explained(error, description, wanted) from error
    limit_loaded_libraries(options.cores)
    if "torch" in sys.modules:
        from scoring_runtime.frameworks.pytorch import set_threads

        set_threads(options.cores)
    return loaded


def _explained(error: Exception, description: Description, wanted: Sequence[str]) -> StartupError:
    """Return the StartupError for what loading raised, by cause."""
    differing = f"; it was saved with {', '.join(wanted)}" if wanted else ""
    missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
    if missing:
        return FrameworkMissing(
            f"the MLflow model (loaded by {description.loader}) needs the Python package {missing.partition('.')[0]}, "
            f"which this image does not have{differing}; use an image with the packages of its requirements.txt added"
        )
    said = f"{type(error).__name__}: {first_line(error)}"
    if wanted:
        return ModelIncompatible(
            f"the MLflow model cannot be loaded ({said}){differing}; use an image with those versions"
        )
    return ModelInvalid(f"the MLflow model (loaded by {description.loader}) cannot be loaded ({said})")


def _specs(schema: Schema | None) -> tuple[TensorSpec, ...]:
    return schema.specs if schema is not None else ()


def _conformed(inputs: Tensors, schema: Schema) -> Tensors:
    """Return the inputs in the names, order and types of the schema. Raises InputInvalid."""
    specs = schema.specs
    if inputs.names is None:
        arrays = match(specs, inputs)
    else:
        names = [spec.name for spec in specs]
        if len(specs) == 1 and names[0] not in inputs.names and not schema.optional:
            arrays = match(specs, Tensors((_matrix(inputs),)) if len(inputs.arrays) > 1 else Tensors(inputs.arrays))
        else:
            kept = [at for at, name in enumerate(inputs.names) if name in names]
            given = tuple(inputs.names[at] for at in kept)
            specs = tuple(spec for spec in specs if spec.name in given or spec.name not in schema.optional)
            arrays = match(specs, Tensors(tuple(inputs.arrays[at] for at in kept), given))
    unnamed = len(specs) == 1 and (not schema.columns or len(specs[0].shape) == 2)
    return Tensors(arrays) if unnamed else Tensors(arrays, tuple(spec.name for spec in specs))


def _matrix(columns: Tensors) -> Array:
    """Return columns beside one another as rows; a single array as it is."""
    if len(columns.arrays) == 1:
        return columns.arrays[0]
    numeric = all(array.dtype.kind in "fiub" for array in columns.arrays)
    dtype = np.result_type(*columns.arrays) if numeric else np.dtype(object)
    return np.stack([array.astype(dtype) for array in columns.arrays], axis=1)


def _as_tensors(result: Any, rows: int) -> Tensors:
    """Return what a model answered: a data frame's columns by name, a dict's arrays, one array, a list."""
    names: tuple[str, ...] | None = None
    if hasattr(result, "columns") and hasattr(result, "to_numpy"):
        labels = list(result.columns)
        # Numbered columns, as of a matrix, are no names.
        if labels and all(isinstance(label, str) for label in labels):
            names, parts = tuple(labels), [result[label].to_numpy() for label in labels]
        else:
            parts = [result.to_numpy()]
    elif isinstance(result, dict) and result:
        names, parts = tuple(map(str, result)), list(result.values())
    else:
        parts = [result]
    arrays = tuple(_as_array(part) for part in parts)
    check_rows(arrays, rows, "; one that answers otherwise can be served with `framework: script`")
    return Tensors(arrays, names)


def _as_array(part: Any) -> Array:
    convert: Callable[[], Any] | None = getattr(part, "to_numpy", None)
    if convert is not None:
        part = convert()
    elif hasattr(part, "toarray"):
        part = part.toarray()
    if isinstance(part, list) and part and not isinstance(part[0], int | float | bool | list):
        return object_array(part)
    array = np.asarray(part)
    return array if array.dtype.kind in "fiub" else array.astype(object)
