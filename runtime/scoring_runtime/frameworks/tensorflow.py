"""TensorFlow SavedModels: a folder with a program, its weights and the signatures that say what it takes.

The default signature (serving_default) is `predict`; the others are methods by their own names. Loading one runs no
Python, and yet a SavedModel is a program: among TensorFlow's operators are some that read and write files
(`docs/model-safety.md`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when it is imported. What goes wrong comes as an exception; its own lines on standard error are not JSON.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

from scoring_runtime.errors import InputInvalid, ModelFailed, ModelInvalid, ModelLoadFailed
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.causes import batch_too_large, refused
from scoring_runtime.frameworks.fixedrows import fixed_rows, run_in_pieces
from scoring_runtime.frameworks.matching import match
from scoring_runtime.frameworks.modelfile import check_memory
from scoring_runtime.frameworks.savedmodels import cause_of, find_saved_model, read_saved_model
from scoring_runtime.tensors import Array, Signature, Tensors, TensorSpec, object_array

DEFAULT_SIGNATURE = "serving_default"
# Keras' `model.export` writes the default signature under this name too.
_ALIAS = "serve"
_PREDICT = "predict"
_NUMBERS = frozenset(
    {"bool", "float16", "float32", "float64"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@dataclass(frozen=True)
class Method:
    """One signature: the function, and what it takes and gives, in the order of their names."""

    function: Any
    inputs: tuple[TensorSpec, ...]
    dtypes: tuple[Any, ...]
    """TensorFlow's dtype of each input."""
    outputs: tuple[TensorSpec, ...]
    rows: int | None
    """How many rows it takes at a time, None for any number."""


class TensorflowModel:
    """A SavedModel, each of whose signatures takes tensors whose first axis is the row."""

    platform = "tensorflow_savedmodel"
    warnings: tuple[str, ...] = ()

    def __init__(self, loaded: Any) -> None:
        # Its functions hold the variables only weakly.
        self._loaded = loaded
        self._methods = _methods(loaded.signatures)
        self.methods = tuple(self._methods)
        first = self._methods[self.methods[0]]
        self.signature = Signature(first.inputs, first.outputs)

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Arrays get the names, dtypes and number of axes of the signature; text becomes bytes."""
        wanted = self._methods[method]
        # Text may be any bytes here, such as an image's file.
        specs = [TensorSpec(spec.name, "", spec.shape) if spec.dtype == "object" else spec for spec in wanted.inputs]
        arrays = (
            _as_bytes(array, spec.name) if spec.dtype == "object" else array
            for array, spec in zip(match(specs, inputs), wanted.inputs, strict=True)
        )
        return Tensors(tuple(arrays), tuple(spec.name for spec in wanted.inputs))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`. Several outputs have the names of the signature; one has none."""
        asked = self._methods[method]
        results = run_in_pieces(lambda arrays: _run(asked, arrays), inputs.arrays, asked.rows)
        return Tensors(tuple(results), tuple(spec.name for spec in asked.outputs) if len(results) > 1 else None)


def load(path: Path, options: LoadOptions) -> TensorflowModel:
    """Load the SavedModel at `path` or in its only folder. Raises a StartupError that names the cause."""
    folder = find_saved_model(path)
    check_memory(folder, options.memory_limit_bytes)
    configure(options)
    return TensorflowModel(read_saved_model(folder))


def configure(options: LoadOptions) -> None:
    """Tell TensorFlow how many threads and which device to use. Raises ModelLoadFailed where there is no GPU."""
    # Both can be said once, before TensorFlow first computes.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(options.cores)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tf.config.list_physical_devices("GPU")
    if options.device == "cuda" and not gpus:
        raise ModelLoadFailed(
            "SCORING_DEVICE=cuda and TensorFlow finds no CUDA GPU; ask for one with `gpu: 1`, and check that the image "
            "has tensorflow[and-cuda] instead of tensorflow-cpu and the node its driver"
        )
    with contextlib.suppress(RuntimeError):
        if options.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        else:
            for gpu in gpus:
                # Otherwise it takes all of the GPU's memory at once.
                tf.config.experimental.set_memory_growth(gpu, True)


def _methods(signatures: Any) -> dict[str, Method]:
    """Return the signatures by the name of their method, the default one first."""
    names = sorted(signatures, key=lambda name: (name != DEFAULT_SIGNATURE, name))
    default = signatures[names[0]]
    if names[0] == DEFAULT_SIGNATURE and _ALIAS in names and _same(default, signatures[_ALIAS]):
        names.remove(_ALIAS)
    called = names[0] if _PREDICT in names else _PREDICT
    return {called if name == names[0] else name: _method(name, signatures[name]) for name in names}


def _same(one: Any, other: Any) -> bool:
    return bool(
        one.structured_input_signature == other.structured_input_signature
        and one.structured_outputs == other.structured_outputs
    )


def _method(name: str, function: Any) -> Method:
    given = function.structured_input_signature[1]
    inputs = tuple(_input_spec(name, called, spec) for called, spec in given.items())
    if not inputs:
        raise ModelInvalid(f"the signature {name} has no inputs; export it with the tensors that it takes")
    outputs = tuple(TensorSpec(called, _dtype(spec) or "", _shape(spec)) for called, spec in _described(function))
    return Method(function, inputs, tuple(spec.dtype for spec in given.values()), outputs, fixed_rows(inputs))


def _described(function: Any) -> list[tuple[str, Any]]:
    return sorted(function.structured_outputs.items())


def _input_spec(signature: str, name: str, spec: Any) -> TensorSpec:
    dtype = _dtype(spec) if isinstance(spec, tf.TensorSpec) else None
    if dtype is None:
        raise ModelInvalid(
            f"the input {name} of the signature {signature} is a {type(spec).__name__} of "
            f"{getattr(getattr(spec, 'dtype', None), 'name', 'no dtype')}, which cannot be sent; "
            "export it with dense tensors of numbers, booleans or strings"
        )
    if spec.shape.rank == 0:
        raise ModelInvalid(
            f"the input {name} of the signature {signature} has no axes; the first axis of every input is the row: "
            "make it a constant of the model, or give it one"
        )
    return TensorSpec(name, dtype, _shape(spec))


def _dtype(spec: Any) -> str | None:
    """Return NumPy's name of a dtype, None for one that has none; bfloat16, which NumPy lacks, is sent as float32."""
    name = spec.dtype.name
    if name in _NUMBERS:
        return str(name)
    return {"string": "object", "bfloat16": "float32"}.get(name)


def _shape(spec: Any) -> tuple[int, ...]:
    return () if spec.shape.rank is None else tuple(-1 if axis is None else int(axis) for axis in spec.shape)


def _as_bytes(array: Array, name: str) -> Array:
    if array.dtype.kind in "fiub":
        raise InputInvalid(f"input {name} takes text, and got numbers")
    cells = [cell.encode() if isinstance(cell, str) else cell for cell in array.ravel().tolist()]
    if not all(isinstance(cell, bytes) for cell in cells):
        raise InputInvalid(f"input {name} takes text; there is a number or null in it")
    return object_array(cells).reshape(array.shape)


def _run(method: Method, arrays: Sequence[Array]) -> list[Array]:
    try:
        given = {
            spec.name: _tensor(array, dtype)
            for spec, array, dtype in zip(method.inputs, arrays, method.dtypes, strict=True)
        }
        results = method.function(**given)
    except tf.errors.ResourceExhaustedError as error:
        raise batch_too_large() from error
    except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, ValueError, TypeError) as error:
        raise refused(cause_of(error)) from error
    return [_as_array(results[spec.name]) for spec in method.outputs]


def _tensor(array: Array, dtype: Any) -> Any:
    tensor = tf.convert_to_tensor(array)
    return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def _as_array(tensor: Any) -> Array:
    """Return an output as an array; text in UTF-8 as str, other bytes as they are, bfloat16 as float32."""
    if not isinstance(tensor, tf.Tensor):
        raise ModelFailed(f"the model returned a {type(tensor).__name__}; its outputs must be dense tensors")
    array: Array = (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()
    if array.dtype.kind != "O":
        return array
    cells = array.ravel().tolist()
    with contextlib.suppress(UnicodeDecodeError):
        cells = [cell.decode() for cell in cells]
    return object_array(cells).reshape(array.shape)
