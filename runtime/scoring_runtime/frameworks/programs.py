"""Reading PyTorch models that carry their own code: TorchScript (.pt, .pth) and torch.export programs (.pt2).

A state_dict or a pickled nn.Module has no code, or only a reference to code elsewhere; both are refused with a
sentence that says what to export.
"""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scoring_runtime.errors import ModelIncompatible, ModelInvalid
from scoring_runtime.frameworks.convolutions import optimized
from scoring_runtime.tensors import Signature, TensorSpec

_EXPORT = "export it with torch.export.save(torch.export.export(model, example), 'model.pt2') or torch.jit.trace"


@dataclass(frozen=True)
class Program:
    """A module that can be called, and what its file says of its arguments and results."""

    module: Any
    signature: Signature
    dtypes: tuple[torch.dtype | None, ...]
    """The dtype of each input, None where the file does not say."""
    keywords: frozenset[str]
    """The arguments that are passed by keyword; the others are passed in their order."""
    optional: tuple[TensorSpec, ...] = ()
    """Arguments that may be left out."""
    platform: str = "pytorch_torchscript"


def read_torchscript(
    file: Path, device: torch.device, memory_limit_bytes: int | None = None, dtype: torch.dtype | None = None
) -> Program:
    """Load a TorchScript file onto the device, its floats as `dtype` if one is given, else as they were saved.

    Raises ModelInvalid or ModelIncompatible.
    """
    if not _is_torchscript(file):
        raise ModelInvalid(_what_it_is_instead(file))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")

            def read() -> Any:
                module = torch.jit.load(str(file), map_location=device).eval()
                return module if dtype is None else _converted(module, dtype, file)

            return _scripted(optimized(read, file, memory_limit_bytes) if device.type == "cpu" else read())
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        if "version" in str(error).lower():
            raise ModelIncompatible(_other_version(file, error)) from error
        raise ModelInvalid(f"{file.name} is damaged: {cause_of(error)}") from error


def read_exported(file: Path, device: torch.device) -> Program:
    """Load a torch.export program onto the device. Raises ModelInvalid or ModelIncompatible.

    PyTorch unpickles parts of the file: loading one can run code of its maker (`docs/model-safety.md`).
    """
    if not zipfile.is_zipfile(file):
        raise ModelInvalid(f"{file.name} is not a torch.export program, or it is damaged; {_EXPORT}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(file)
            described = program
            if device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, str(device))
            return _exported(described, program.module())
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if "version" in str(error).lower():
            raise ModelIncompatible(_other_version(file, error)) from error
        raise ModelInvalid(f"{file.name} is not a torch.export program, or it is damaged: {cause_of(error)}") from error


def cause_of(error: Exception) -> str:
    """Return the line of a PyTorch error that says what happened; TorchScript puts it behind a stack of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("RuntimeError: "):
            return line.removeprefix("RuntimeError: ")[:300]
    return lines[0][:300] if lines else type(error).__name__


def _converted(module: Any, dtype: torch.dtype, file: Path) -> Any:
    """Return a module whose weights have another dtype."""
    if not any(weights.is_floating_point() for weights in module.state_dict().values()):
        raise ModelInvalid(
            f"{file.name} has no weights that could become {dtype}: freezing makes them constants of its code; save "
            "the model without torch.jit.freeze, or leave SCORING_PRECISION out"
        )
    return module.to(dtype)


def _scripted(module: Any) -> Program:
    """Return a TorchScript module with the names of its arguments; the file keeps neither dtypes nor shapes."""
    schema = module.forward.schema
    arguments = schema.arguments[1:]
    required = tuple(TensorSpec(argument.name) for argument in arguments if not argument.has_default_value())
    optional = tuple(TensorSpec(argument.name) for argument in arguments if argument.has_default_value())
    outputs = (TensorSpec("output-0"),) if str(schema.returns[0].type) == "Tensor" else ()
    names = frozenset(argument.name for argument in arguments)
    return Program(module, Signature(required, outputs), (None,) * len(arguments), names, optional)


def _exported(program: Any, module: Any) -> Program:
    """Return a torch.export program with the names, dtypes and shapes of its arguments and results."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    graph = program.graph_signature
    taken: list[tuple[str, Any]] = [(str(name), values.get(str(name))) for name in graph.user_inputs]
    given = zip(_output_names(program), (values.get(str(name)) for name in graph.user_outputs), strict=True)
    dtypes = tuple(value.dtype if torch.is_tensor(value) else None for _, value in taken)
    signature = Signature(tuple(_spec(*pair) for pair in taken), tuple(_spec(*pair) for pair in given))
    return Program(module, signature, dtypes, _keywords(program), platform="pytorch_export")


def _output_names(program: Any) -> list[str]:
    spec, count = program.call_spec.out_spec, len(program.graph_signature.user_outputs)
    if spec.type is dict and len(spec.context) == count:
        return [str(name) for name in spec.context]
    return [f"output-{number}" for number in range(count)]


def _keywords(program: Any) -> frozenset[str]:
    by_keyword = program.call_spec.in_spec.child(1)
    return frozenset(str(name) for name in by_keyword.context or ())


def _spec(name: str, value: Any) -> TensorSpec:
    if not torch.is_tensor(value):
        return TensorSpec(name)
    # NumPy has no bfloat16, and what has 16 bits is more useful to clients with 32.
    dtype = "float32" if value.dtype in (torch.bfloat16, torch.float16) else str(value.dtype).removeprefix("torch.")
    return TensorSpec(name, dtype, tuple(axis if isinstance(axis, int) else -1 for axis in value.shape))


def _other_version(file: Path, error: Exception) -> str:
    return (
        f"{file.name} cannot be read by PyTorch {torch.__version__}, export it again with that one: {cause_of(error)}"
    )


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
