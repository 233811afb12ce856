"""PyTorch models that carry their own code: TorchScript (.pt, .pth) and torch.export programs (.pt2).

A state_dict or a pickled nn.Module has no code, or only a reference to code elsewhere; both are refused with a
sentence that says what to export.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scoring_runtime.errors import (
    InputInvalid,
    InputRejected,
    ModelFailed,
    ModelIncompatible,
    ModelInvalid,
    ModelLoadFailed,
    ModelTooLarge,
)
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.modelfile import check_content, check_memory, find_model_file
from scoring_runtime.tensors import Array, Signature, Tensors

SUFFIXES = (".pt2", ".pt", ".pth")
_EXPORT = "export it with torch.export.save(torch.export.export(model, example), 'model.pt2') or torch.jit.trace"


class PytorchModel:
    """A module that takes one tensor, or one an input name, whose first axis is the row."""

    methods = ("predict",)
    warnings: tuple[str, ...] = ()
    platform = "pytorch_torchscript"
    signature = Signature()

    def __init__(self, module: Callable[..., Any], device: torch.device, floating: torch.dtype) -> None:
        self._module = module
        self._device = device
        self._floating = floating

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Floats become float32; whole numbers and booleans stay what they are."""
        return Tensors(tuple(_numeric(array) for array in inputs.arrays), inputs.names)

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`. Named inputs are passed by keyword."""
        with torch.inference_mode():
            tensors = [self._tensor(array) for array in inputs.arrays]
            try:
                if inputs.names is None:
                    result = self._module(*tensors)
                else:
                    result = self._module(**dict(zip(inputs.names, tensors, strict=True)))
            except torch.OutOfMemoryError as error:
                raise ModelFailed("the GPU has no memory left for this batch; lower batching.maxSize") from error
            except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
                if "CUDA error" in str(error):
                    raise
                raise InputRejected(f"the model refused the input: {_cause(error)}") from error
            return _as_tensors(result, len(inputs))

    def _tensor(self, array: Array) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._device, self._floating if tensor.is_floating_point() else tensor.dtype)


def load(path: Path, options: LoadOptions) -> PytorchModel:
    """Load the model file at or in `path` onto the device. Raises a StartupError that names the cause."""
    file = find_model_file(path, SUFFIXES)
    check_content(file)
    check_memory(file, options.memory_limit_bytes)
    device = _device(options.device)
    torch.set_num_threads(options.cores)
    read = _read_exported if file.suffix == ".pt2" else _read_torchscript
    try:
        module = read(file, device)
    except (torch.OutOfMemoryError, MemoryError):
        where = "the GPU's memory" if device.type == "cuda" else "the memory; raise resources.limits.memory"
        raise ModelTooLarge(f"{file.name} does not fit {where}") from None
    return PytorchModel(module, device, _floating_dtype(module))


def _device(wanted: str) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelLoadFailed(
            "SCORING_DEVICE=cuda and PyTorch finds no CUDA GPU; ask for one with `gpu: 1`, and check that the image "
            "has PyTorch with CUDA and the node its driver"
        )
    return torch.device("cuda")


def _read_torchscript(file: Path, device: torch.device) -> Any:
    if not _is_torchscript(file):
        raise ModelInvalid(_what_it_is_instead(file))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.load(str(file), map_location=device).eval()
    except RuntimeError as error:
        if "version" in str(error).lower():
            raise ModelIncompatible(_other_version(file, error)) from error
        raise ModelInvalid(f"{file.name} is damaged: {_cause(error)}") from error


def _read_exported(file: Path, device: torch.device) -> Any:
    if not zipfile.is_zipfile(file):
        raise ModelInvalid(f"{file.name} is not a torch.export program, or it is damaged; {_EXPORT}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(file)
            if device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, str(device))
            return program.module()
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if "version" in str(error).lower():
            raise ModelIncompatible(_other_version(file, error)) from error
        raise ModelInvalid(f"{file.name} is not a torch.export program, or it is damaged: {_cause(error)}") from error


def _other_version(file: Path, error: Exception) -> str:
    return f"{file.name} cannot be read by PyTorch {torch.__version__}, export it again with that one: {_cause(error)}"


def _is_torchscript(file: Path) -> bool:
    """Whether the zip archive has code in it, which tells TorchScript from what torch.save writes."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _what_it_is_instead(file: Path) -> str:
    """Return the sentence for a file that is not TorchScript. Nothing in the file is executed."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if zipfile.is_zipfile(file) and "Weights only load failed" in str(error):
            return f"{file.name} is a pickled model, whose class is not in the file; {_EXPORT}"
        return f"{file.name} is not a TorchScript file, or it is damaged; {_EXPORT}"
    if isinstance(content, dict) and content and all(torch.is_tensor(value) for value in content.values()):
        return f"{file.name} is a state_dict: weights without the model; {_EXPORT}"
    return f"{file.name} holds a {type(content).__name__} from torch.save, not a model; {_EXPORT}"


def _floating_dtype(module: Any) -> torch.dtype:
    """Return the dtype of the first floating parameter: what the model's inputs have too."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            dtype: torch.dtype = parameter.dtype
            return dtype
    return torch.float32


def _numeric(array: Array) -> Array:
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype.kind in "iub":
        return np.ascontiguousarray(array, dtype=bool if array.dtype.kind == "b" else np.int64)
    raise InputInvalid("a PyTorch model takes numbers and booleans; there is text, null or an object in the data")


def _as_tensors(result: Any, rows: int) -> Tensors:
    names: tuple[str, ...] | None = None
    if isinstance(result, dict):
        names, result = tuple(str(name) for name in result), tuple(result.values())
    parts: Sequence[Any] = result if isinstance(result, (tuple, list)) else (result,)
    if not parts or not all(torch.is_tensor(part) for part in parts):
        kind = type(result).__name__
        raise ModelFailed(f"the model returned a {kind}; it must return a tensor, or a tuple or dict of tensors")
    for part in parts:
        if part.dim() == 0 or part.shape[0] != rows:
            shape = tuple(part.shape)
            raise ModelFailed(
                f"the model returned a tensor of shape {shape} for {rows} rows; its first axis must be rows"
            )
    return Tensors(tuple(_as_array(part) for part in parts), names)


def _as_array(part: torch.Tensor) -> Array:
    part = part.detach().to("cpu")
    array: Array = (part.float() if part.dtype in (torch.bfloat16, torch.float16) else part).numpy()
    return array


def _cause(error: Exception) -> str:
    """Return the line of a PyTorch error that says what happened; TorchScript puts it behind a stack of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("RuntimeError: "):
            return line.removeprefix("RuntimeError: ")[:300]
    return lines[0][:300] if lines else type(error).__name__
