"""Keras 3 models: .keras files of Keras' own layers, whatever backend they were trained with.

Loading one runs no code of its maker: files with Lambda layers or other people's classes are refused, and Keras' own
safe mode is always on.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scoring_runtime.errors import (
    FrameworkMissing,
    ModelIncompatible,
    ModelInvalid,
    StartupError,
)
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.causes import batch_too_large, refused, too_large
from scoring_runtime.frameworks.fixedrows import fixed_rows, run_in_pieces
from scoring_runtime.frameworks.kerasfiles import check_classes, saved_with
from scoring_runtime.frameworks.matching import match
from scoring_runtime.frameworks.modelfile import check_content, check_memory, find_model_file
from scoring_runtime.tensors import Array, Signature, Tensors, TensorSpec

SUFFIXES = (".keras",)
# The first that is there computes. TensorFlow has what no other has: layers that take text.
BACKENDS = ("tensorflow", "jax", "torch")
_CHOSEN = "KERAS_BACKEND"
_COLOR = re.compile("\x1b\\[[0-9;]*m")


class KerasModel:
    """A model that takes one array, or one an input name, whose first axis is the row."""

    methods = ("predict",)

    def __init__(self, model: Any, backend: str, notes: Sequence[str] = ()) -> None:
        self._model = model
        self.platform = f"keras_{backend}"
        self.warnings = tuple(notes)
        inputs, outputs = _inputs(model), _outputs(model)
        self.signature = Signature(tuple(inputs), tuple(outputs))
        self._form = _form(model, "input")
        self._rows = fixed_rows(inputs)
        self._named = tuple(spec.name for spec in outputs) if len(outputs) > 1 else None

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Arrays get the dtype and number of axes of the model's input of that name."""
        specs = self.signature.inputs
        return Tensors(match(specs, inputs), tuple(spec.name for spec in specs))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`. Several outputs have the model's names; one has none."""
        return Tensors(tuple(run_in_pieces(self._run, inputs.arrays, self._rows)), self._named)

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        import keras

        try:
            # In the model's own form: one, a list, or a dict by name.
            result = self._model.predict_on_batch(keras.tree.pack_sequence_as(self._form, list(arrays)))
        except Exception as error:
            if isinstance(error, MemoryError) or _is_out_of_memory(error):
                raise batch_too_large() from error
            if isinstance(error, ValueError | TypeError | IndexError | RuntimeError) or _is_invalid(error):
                raise refused(_cause_of(error)) from error
            raise
        return [_as_array(part) for part in keras.tree.flatten(result)]


def load(path: Path, options: LoadOptions) -> KerasModel:
    """Load the model file at or in `path`. Raises a StartupError that names the cause."""
    file = find_model_file(path, SUFFIXES)
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    check_classes(file)
    backend = _prepared_backend(options)
    import keras

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without what training needs, which may be a loss or metric that nobody has here.
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except MemoryError:
        raise too_large(file.name) from None
    except Exception as error:
        raise _explained(file, error, keras.__version__, backend) from error
    if not getattr(model, "inputs", None):
        raise ModelInvalid(
            f"{file.name} does not say what it takes: it was saved before it was built; call it once, and save it again"
        )
    # Compiling anew for each number of rows takes longer than it saves.
    model.jit_compile = False
    return KerasModel(model, backend, _notes(file, keras.__version__))


def _prepared_backend(options: LoadOptions) -> str:
    """Choose the backend, unless KERAS_BACKEND did, and tell it about threads and devices."""
    chosen = os.environ.get(_CHOSEN) or next((name for name in BACKENDS if find_spec(name)), None)
    if chosen is None:
        raise FrameworkMissing(
            f"this image has none of {', '.join(BACKENDS)}, one of which Keras needs to compute; use the image for "
            "keras, or one with tensorflow-cpu added"
        )
    os.environ[_CHOSEN] = chosen
    if chosen == "tensorflow":
        from scoring_runtime.frameworks.tensorflow import configure

        configure(options)
    elif chosen == "torch":
        from scoring_runtime.frameworks.pytorch import set_threads

        set_threads(options.cores)
    import keras

    return str(keras.config.backend())


def _inputs(model: Any) -> list[TensorSpec]:
    names = [_key(path) or tensor.name for path, tensor in _with_paths(_form(model, "input"))]
    # A name that nobody gave is another one in each process.
    names = [f"input_{at}" if name.startswith("keras_tensor") else name for at, name in enumerate(names)]
    return [_spec(tensor, name) for tensor, name in zip(model.inputs, names, strict=True)]


def _outputs(model: Any) -> list[TensorSpec]:
    keys = [_key(path) for path, _ in _with_paths(_form(model, "output"))]
    if not all(keys):
        # Those of the layers, which a Sequential model does not list.
        keys = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    if len(set(keys)) != len(model.outputs):
        keys = [f"output_{number}" for number in range(len(model.outputs))]
    return [_spec(tensor, str(key)) for tensor, key in zip(model.outputs, keys, strict=True)]


def _form(model: Any, side: str) -> Any:
    """Return the tensors of one side in the model's own form: one, a list, or a dict by name."""
    import keras

    if isinstance(model, keras.Sequential):
        tensors = getattr(model, f"{side}s")
        return tensors[0] if len(tensors) == 1 else tensors
    return getattr(model, side)


def _with_paths(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    import keras

    return list(keras.tree.flatten_with_path(structure))


def _key(path: Sequence[Any]) -> str | None:
    """Return the name that a dict gives to its tensor, None for one in a list."""
    return path[-1] if path and isinstance(path[-1], str) else None


def _spec(tensor: Any, name: str) -> TensorSpec:
    dtype = str(tensor.dtype)
    # NumPy has no bfloat16.
    dtype = {"string": "object", "bfloat16": "float32"}.get(dtype, dtype)
    return TensorSpec(name, dtype, tuple(-1 if axis is None else int(axis) for axis in tensor.shape))


def _notes(file: Path, installed: str) -> list[str]:
    wanted = saved_with(file)
    if not wanted or wanted == installed:
        return []
    return [f"{file.name} was saved with Keras {wanted} and is read by {installed}; its results may differ"]


def _explained(file: Path, error: Exception, installed: str, backend: str) -> StartupError:
    """Return the StartupError for what loading raised, by cause."""
    said, wanted = _cause_of(error), saved_with(file)
    package = error.name if isinstance(error, ImportError) else None
    if package or "requires TensorFlow" in str(error):
        return FrameworkMissing(
            f"{file.name} has a layer that needs {package or 'TensorFlow'}, and Keras computes with {backend} here; "
            "use the image for keras or tensorflow"
        )
    if wanted not in ("", installed) and isinstance(error, TypeError | ValueError | AttributeError):
        return ModelIncompatible(
            f"{file.name} was saved with Keras {wanted} and cannot be read by {installed}: {said}; save it again with "
            f"{installed}, or use an image with Keras {wanted}"
        )
    return ModelInvalid(f"{file.name} is not a Keras model, or it is damaged: {said}")


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError", "XlaRuntimeError")


def _is_invalid(error: Exception) -> bool:
    return type(error).__name__ in ("InvalidArgumentError", "OutOfRangeError", "UnimplementedError")


def _cause_of(error: Exception) -> str:
    # Keras wraps what happened into the whole configuration, and says it last.
    told = str(error).rpartition("Exception encountered: ")[2]
    lines = [_COLOR.sub("", line).strip() for line in told.splitlines()]
    skipped = ("Graph execution error", "Detected at node", "<stack traces", "Exception encountered when calling")
    return next((line for line in lines if line and not line.startswith(skipped)), type(error).__name__)[:300]


def _as_array(part: Any) -> Array:
    import numpy as np

    array = np.asarray(part)
    # What is no dtype of NumPy's own (bfloat16) is more useful to clients with 32 bits.
    return array.astype(np.float32) if array.dtype.kind == "V" else array
