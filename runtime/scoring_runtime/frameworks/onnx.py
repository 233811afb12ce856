"""ONNX models, run by ONNX Runtime.

Loading one runs no code of its maker: a graph of ONNX Runtime's own operators, and weights, which may lie in files
beside it (never outside the model's folder, which ONNX Runtime checks).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from scoring_runtime.errors import (
    ModelFailed,
    ModelIncompatible,
    ModelInvalid,
    ModelLoadFailed,
    ModelNotFound,
    StartupError,
)
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.causes import batch_too_large, refused, too_large
from scoring_runtime.frameworks.fixedrows import fixed_rows, run_in_pieces
from scoring_runtime.frameworks.matching import match
from scoring_runtime.frameworks.modelfile import check_content, check_memory, find_model_file
from scoring_runtime.tensors import Array, Signature, Tensors, TensorSpec

SUFFIXES = (".onnx",)
_CUDA = "CUDAExecutionProvider"
_SILENT = 4  # What goes wrong comes as an exception; ONNX Runtime's own lines on standard error are not JSON.
# ONNX's names (https://onnx.ai/onnx/intro/concepts.html#element-type) of what NumPy has too.
_DTYPES = {
    "float": "float32",
    "double": "float64",
    "string": "object",
    **{name: name for name in ("float16", "bool", "int8", "int16", "int32", "int64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
}
_TENSOR = re.compile(r"tensor\((\w+)\)")
# [ONNXRuntimeError] : 1 : FAIL : Load model from PATH failed:FILE:LINE FUNCTION(...) What happened
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:\s*)?")


class OnnxModel:
    """A session, whose inputs' and outputs' first axis is the row."""

    methods = ("predict",)
    platform = "onnxruntime_onnx"
    warnings: tuple[str, ...] = ()

    def __init__(self, session: Any) -> None:
        self._session = session
        self.signature = Signature(
            tuple(_input_spec(node) for node in session.get_inputs()),
            tuple(_output_spec(node) for node in session.get_outputs()),
        )
        self._rows = fixed_rows(self.signature.inputs)
        self._inputs = tuple(spec.name for spec in self.signature.inputs)
        self._outputs = [spec.name for spec in self.signature.outputs]
        self._named = tuple(self._outputs) if len(self._outputs) > 1 else None

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Arrays get the model's names, dtypes and number of axes."""
        return Tensors(match(self.signature.inputs, inputs), self._inputs)

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`. Several outputs have the model's names; one has none."""
        return Tensors(tuple(run_in_pieces(self._run, inputs.arrays, self._rows)), self._named)

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        try:
            results = self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        except (ValueError, TypeError) as error:
            raise refused(cause_of(error)) from error
        except Exception as error:
            said = str(error)
            if "allocate memory" in said or "out of memory" in said:
                raise batch_too_large() from error
            if "CUDA" in said or "CUBLAS" in said or "CUDNN" in said or type(error).__module__.startswith("builtins"):
                raise
            raise refused(cause_of(error)) from error
        return [_as_array(result, name) for result, name in zip(results, self._outputs, strict=True)]


def load(path: Path, options: LoadOptions) -> OnnxModel:
    """Load the model file at or in `path`. Raises a StartupError that names the cause."""
    file = find_model_file(path, SUFFIXES)
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    ort.set_default_logger_severity(_SILENT)
    providers = _providers(options.device)
    try:
        session = ort.InferenceSession(str(file), session_options(options.cores), providers=providers)
    except Exception as error:
        raise _explained(file, error) from error
    if options.device == "cuda" and _CUDA not in session.get_providers():
        raise ModelLoadFailed(_NO_CUDA)
    return OnnxModel(session)


_NO_CUDA = (
    "SCORING_DEVICE=cuda and ONNX Runtime finds no CUDA GPU; ask for one with `gpu: 1`, and check that the image "
    "has onnxruntime-gpu and the node its driver"
)


def _providers(device: str) -> list[str]:
    """Return where to compute, the best first; what a GPU lacks an operator for is done by the CPU."""
    if device != "cpu" and _CUDA in ort.get_available_providers():
        # The CUDA libraries that come as Python packages are not on the loader's path.
        ort.preload_dlls()
        return [_CUDA, "CPUExecutionProvider"]
    if device == "cuda":
        raise ModelLoadFailed(_NO_CUDA)
    return ["CPUExecutionProvider"]


def session_options(cores: int) -> Any:
    """Return how a session is run: with so many threads, silent, and without using up a core while it waits."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    # A thread that spins while it waits takes the core from the threads that read requests, and uses up the CPU quota.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _input_spec(node: Any) -> TensorSpec:
    element = _TENSOR.fullmatch(node.type)
    if element is None or element[1] not in _DTYPES:
        raise ModelInvalid(
            f"the model's input {node.name} is a {node.type}, which cannot be sent; "
            f"export the model with tensors of {', '.join(sorted(_DTYPES))}"
        )
    if not node.shape:
        raise ModelInvalid(
            f"the model's input {node.name} has no axes; the first axis of every input is the row: "
            "make it a constant of the model, or give it one"
        )
    return TensorSpec(node.name, _DTYPES[element[1]], _shape(node.shape))


def _output_spec(node: Any) -> TensorSpec:
    element = _TENSOR.search(node.type)
    dtype = _DTYPES.get(element[1], "") if element else ""
    if node.type.startswith("seq(map("):
        return TensorSpec(node.name, dtype, (-1, -1))
    return TensorSpec(node.name, dtype, _shape(node.shape or ()) if node.type.startswith("tensor") else ())


def _shape(axes: Sequence[object]) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) else -1 for axis in axes)


def _as_array(result: Any, name: str) -> Array:
    """Return an output as an array; the list of dicts that skl2onnx writes (ZipMap) has a column for each key."""
    if isinstance(result, np.ndarray):
        return result
    if isinstance(result, list) and result:
        if all(isinstance(row, dict) and row.keys() == result[0].keys() for row in result):
            return np.array([[row[key] for key in result[0]] for row in result])
        if all(isinstance(row, np.ndarray) and row.shape == result[0].shape for row in result):
            return np.stack(result)
    raise ModelFailed(
        f"the model's output {name} is a {type(result).__name__} that is no array; it must be a tensor, or a sequence "
        "with one map or tensor of the same size for each row"
    )


def _explained(file: Path, error: Exception) -> StartupError:
    """Return the StartupError for what making the session raised, by cause."""
    said, cause = str(error), cause_of(error)
    if "opset" in said or "IR version" in said:
        return ModelIncompatible(
            f"{file.name} was made for a newer ONNX than ONNX Runtime {ort.__version__} reads: {cause}; "
            "export it with a lower opset, or use an image with a newer ONNX Runtime"
        )
    if "is not a registered function/op" in said or "No Op registered" in said:
        return ModelIncompatible(f"{file.name} uses an operator that ONNX Runtime {ort.__version__} lacks: {cause}")
    if "xternal data path does not exist" in said:
        missing = said.rpartition("does not exist")[2].strip(' :"\n').rpartition("/")[2]
        return ModelNotFound(
            f"{file.name} keeps its weights in the file {missing or 'beside it'}, which is not in its folder; "
            "copy all files of the model into one folder"
        )
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return too_large(file.name)
    if "escapes model directory" in said:
        return ModelInvalid(f"{file.name} keeps its weights in a file outside its own folder, which is not read")
    if "xternal" in said:
        return ModelInvalid(f"a weights file of {file.name} is damaged or cut off: {cause}")
    return ModelInvalid(f"{file.name} is not an ONNX model, or it is damaged: {cause}")


def cause_of(error: Exception) -> str:
    """Return what ONNX Runtime's error says, in one line and without the places in its own sources."""
    text = _PREFIX.sub("", str(error).strip())
    text = re.sub(r"\S*/onnxruntime\S*:\d+\s+.*?\)\s+(const )?", "", text, flags=re.DOTALL)
    text = re.sub(r"\w+\.cc:\d+ \w+ ", "", text)
    return " ".join(text.split()).removesuffix(" Please fix either the inputs/outputs or the model.")[:300]
