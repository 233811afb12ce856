"""PyTorch models that carry their own code: TorchScript (.pt, .pth) and torch.export programs (.pt2)."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from scoring_runtime.errors import (
    InputInvalid,
    ModelFailed,
    ModelInvalid,
    ModelLoadFailed,
    ModelTooLarge,
)
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.causes import batch_too_large, refused
from scoring_runtime.frameworks.fixedrows import fixed_rows, run_in_pieces
from scoring_runtime.frameworks.matching import match
from scoring_runtime.frameworks.modelfile import check_content, check_memory, find_model_file
from scoring_runtime.frameworks.programs import Program, cause_of, read_exported, read_torchscript
from scoring_runtime.tensors import Array, Tensors, TensorSpec

SUFFIXES = (".pt2", ".pt", ".pth")
# Below this the extra copy to pinned memory costs more than the transfer gains.
_PINNED_BYTES = 64 * 1024
_Result = TypeVar("_Result")


class PytorchModel:
    """A module that takes one tensor, or one an input name, whose first axis is the row."""

    methods = ("predict",)
    warnings: tuple[str, ...] = ()

    def __init__(self, program: Program, device: torch.device) -> None:
        self.signature = program.signature
        self.platform = program.platform
        self._program = program
        self._device = device
        self._floating = _floating_dtype(program.module)
        self._rows = fixed_rows(program.signature.inputs)
        self._result_names: tuple[str, ...] | None = None
        if device.type == "cuda":
            # Trying out every algorithm pays where the shapes do not change.
            torch.backends.cudnn.benchmark = self._rows is not None

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Where the file does not say more, floats get the dtype of the weights.

        Whole numbers are then int64, and booleans stay booleans.
        """
        specs = self._specs(inputs.names)
        if len(specs) == 1 and not specs[0].dtype and inputs.names is None and len(inputs.arrays) == 1:
            return Tensors((self._numeric(inputs.arrays[0]),))
        if not specs:
            return Tensors(tuple(self._numeric(array) for array in inputs.arrays), inputs.names)
        arrays = match(specs, inputs)
        prepared = (
            _writable(array) if spec.dtype else self._numeric(array) for array, spec in zip(arrays, specs, strict=True)
        )
        return Tensors(tuple(prepared), tuple(spec.name for spec in specs))

    def with_module(self, change: Callable[[Any], Any]) -> PytorchModel:
        """Return a copy around what `change` makes of the module."""
        changed = copy.copy(self)
        changed._program = dataclasses.replace(self._program, module=change(self._program.module))
        return changed

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        with torch.inference_mode():
            arrays = run_in_pieces(lambda arrays: self._run(arrays, inputs.names), inputs.arrays, self._rows)
        return Tensors(tuple(arrays), self._result_names)

    def _run(self, arrays: Sequence[Array], names: tuple[str, ...] | None) -> list[Array]:
        self._result_names, parts = _parts(answered(lambda: self._call(arrays, names)))
        return [_as_array(part) for part in parts]

    def _call(self, arrays: Sequence[Array], names: tuple[str, ...] | None) -> Any:
        tensors = [self._tensor(array, number) for number, array in enumerate(arrays)]
        if names is None:
            return self._program.module(*tensors)
        named = dict(zip(names, tensors, strict=True))
        keywords = {name: named.pop(name) for name in names if name in self._program.keywords}
        return self._program.module(*named.values(), **keywords)

    def _specs(self, given: tuple[str, ...] | None) -> tuple[TensorSpec, ...]:
        """Return what must be given, and what may be and is."""
        optional = tuple(spec for spec in self._program.optional if given is not None and spec.name in given)
        return self.signature.inputs + optional

    def _numeric(self, array: Array) -> Array:
        if array.dtype.kind == "f":
            return _writable(array, np.float64 if self._floating == torch.float64 else np.float32)
        if array.dtype.kind in "iub":
            return _writable(array, np.bool_ if array.dtype.kind == "b" else np.int64)
        raise InputInvalid("a PyTorch model takes numbers and booleans; there is text, null or an object in the data")

    def _tensor(self, array: Array, number: int) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda" and array.nbytes >= _PINNED_BYTES:
            tensor = tensor.pin_memory()
        dtype = self._program.dtypes[number] if number < len(self._program.dtypes) else None
        if dtype is None:
            dtype = self._floating if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self._device, non_blocking=True).to(dtype)


def load(path: Path, options: LoadOptions) -> PytorchModel:
    """Load the model file at or in `path` onto the device. Raises a StartupError that names the cause."""
    file = find_model_file(path, SUFFIXES)
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    device = device_of(options.device)
    set_threads(options.cores)
    # What is not asked for is left as it was saved.
    precision = None if options.precision == LoadOptions.precision else dtype_of(options.precision, device)
    try:
        if file.suffix != ".pt2":
            return PytorchModel(read_torchscript(file, device, options.memory_limit_bytes, precision), device)
        if precision is not None:
            raise ModelInvalid(
                f"{file.name} is a torch.export program, which computes in what it was exported in; export "
                f"model.to({precision}), or leave SCORING_PRECISION out"
            )
        return PytorchModel(read_exported(file, device), device)
    except (torch.OutOfMemoryError, MemoryError):
        where = "the GPU's memory" if device.type == "cuda" else "the memory; raise resources.limits.memory"
        raise ModelTooLarge(f"{file.name} does not fit {where}") from None


def answered(call: Callable[[], _Result]) -> _Result:
    """Return what a module answers. Raises InputRejected and ModelFailed for what PyTorch says of its input."""
    try:
        return call()
    except torch.OutOfMemoryError as error:
        raise batch_too_large("the GPU has") from error
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        if "CUDA error" in str(error):
            raise
        raise refused(cause_of(error)) from error


def set_threads(cores: int) -> None:
    """Let PyTorch compute with so many threads, and start one operation at a time."""
    torch.set_num_threads(cores)
    # Only one operation runs at a time here. PyTorch lets this be said once, before it is first used.
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)


def device_of(wanted: str) -> torch.device:
    """Return the device for cpu, cuda or auto. Raises ModelLoadFailed for cuda where there is none."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelLoadFailed(
            "SCORING_DEVICE=cuda and PyTorch finds no CUDA GPU; ask for one with `gpu: 1`, and check that the image "
            "has PyTorch with CUDA and the node its driver"
        )
    return torch.device("cuda")


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """Return what to compute in for one of the values of SCORING_PRECISION. Raises ModelLoadFailed where it cannot."""
    if precision == "float16" and device.type == "cpu":
        raise ModelLoadFailed("SCORING_PRECISION=float16 needs a GPU; ask for one with `gpu: 1`, or use float32")
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def _writable(array: Array, dtype: Any = None) -> Array:
    """Return the array in one piece and writable, as PyTorch wants it: a copy where it is a view of a request's body.

    A model may write to its input, and the body of a request is not for that.
    """
    result: Array = np.require(array, dtype, ["C", "W"])
    return result


def _floating_dtype(module: Any) -> torch.dtype:
    """Return the dtype of the first floating parameter: what the model's inputs have too."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            dtype: torch.dtype = parameter.dtype
            return dtype
    return torch.float32


def _parts(result: Any) -> tuple[tuple[str, ...] | None, Sequence[torch.Tensor]]:
    """Return the tensors that a model returned, and their names if it returned a dict."""
    names: tuple[str, ...] | None = None
    if isinstance(result, dict):
        names, result = tuple(str(name) for name in result), tuple(result.values())
    parts: Sequence[Any] = result if isinstance(result, (tuple, list)) else (result,)
    if not parts or not all(torch.is_tensor(part) for part in parts):
        kind = type(result).__name__
        raise ModelFailed(f"the model returned a {kind}; it must return a tensor, or a tuple or dict of tensors")
    return names, parts


def _as_array(part: torch.Tensor) -> Array:
    part = part.detach().to("cpu")
    array: Array = (part.float() if part.dtype in (torch.bfloat16, torch.float16) else part).numpy()
    return array
