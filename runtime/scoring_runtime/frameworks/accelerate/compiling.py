"""`accelerate: compile`: torch.compile, for networks whose code PyTorch can take apart: torch.export and Hugging Face.

Compiling takes seconds to minutes and a compiler. So it is done while the model is loaded, for one row and for several,
and what comes in another shape later is answered by the network as it was: nothing is compiled while a client waits.
The compiled network is used only if it gives the same answers, and sooner.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scoring_runtime.errors import RequestError
from scoring_runtime.frameworks import LoadOptions, Model
from scoring_runtime.frameworks.accelerate import AcceleratedModel
from scoring_runtime.frameworks.accelerate.agreement import times_faster
from scoring_runtime.frameworks.causes import one_line
from scoring_runtime.tensors import Array, Tensors, TensorSpec, object_array

# One row, several, and as many others: from the second on the number is a variable of the compiled code.
_ROWS = (1, 2, 8)
_TEXTS = ("a text", "another text of some more words", "and a third one")
# As shares of the largest value. Fused operations round less often than single ones.
_TOLERANCE, _TOLERANCE_OF_HALF = 1e-4, 2e-2
_BACKEND = "inductor"
# What PyTorch calls for a CPU, and Triton for a GPU.
_COMPILERS = (("CXX", "g++"), ("CC", "gcc"), ("CC", "clang"))
_NO_COMPILER = "this image has no C++ compiler; use one with g++ and python3-dev (docs/runtime.md, Acceleration)"
_logger = logging.getLogger(__name__)


class _NotCompiledError(Exception):
    """The network is not compiled; the message says why, as the end of a sentence."""


@runtime_checkable
class WithModule(Protocol):
    """A model around a PyTorch module."""

    def with_module(self, change: Callable[[Any], Any]) -> Model:
        """Return a copy around what `change` makes of the module."""


def compiled(original: Model, options: LoadOptions) -> Model:
    """Return the model around a compiled network, if that is worth it; in any case one that says so."""
    try:
        return _compiled(original, options)
    except _NotCompiledError as error:
        why = str(error)
    except Exception as error:  # What compiling can raise is nowhere written down, and the model works without it.
        _logger.debug("compiling the model raised %s", type(error).__name__, exc_info=error)
        # What PyTorch raises while it computes is else told to clients, in fewer words.
        cause = error.__cause__ if isinstance(error, RequestError) and error.__cause__ else error
        why = f"{type(cause).__name__}: {one_line(cause)}"
    said = f"accelerate: compile is not used, and the model is served as it is: {why}"
    return AcceleratedModel(original, None, {"accelerate": "none", "accelerate_reason": said})


def _compiled(original: Model, options: LoadOptions) -> Model:
    import torch

    if original.platform == "pytorch_torchscript" or not isinstance(original, WithModule):
        raise _NotCompiledError("torch.compile does not look into TorchScript; save the model with torch.export (.pt2)")
    if not any(shutil.which(os.environ.get(variable) or usual) for variable, usual in _COMPILERS):
        raise _NotCompiledError(_NO_COMPILER)
    probes = list(_probes(original, options))
    if not probes:
        raise _NotCompiledError("there is nothing to try it with; put a sample-request.json beside the model")
    # One compiler at a time, in this process: pods have few cores, and no use for a pool of idle processes.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    faster = original.with_module(lambda module: torch.compile(module, dynamic=True, backend=_BACKEND))
    started = time.monotonic()
    torch.compiler.set_stance("default")
    try:
        difference = max(_difference(original, faster, probe, options) for probe in probes)
    finally:
        torch.compiler.set_stance("eager_on_recompile")
    seconds = time.monotonic() - started
    method, row = original.methods[-1], probes[0]
    factor = times_faster(lambda: original.predict(row, method), lambda: faster.predict(row, method))
    if factor < 1:
        raise _NotCompiledError(f"one row takes {1 / factor:.1f} times as long when it is compiled")
    about = {"accelerate_times_faster": round(factor, 1), "accelerate_largest_difference": float(f"{difference:.1g}")}
    _logger.info("the model was compiled in %.0f seconds; one row is %.1f times faster", seconds, factor, extra=about)
    return AcceleratedModel(faster, None, {"accelerate": "compile", **about})


def _probes(model: Model, options: LoadOptions) -> Iterator[Tensors]:
    """Yield prepared inputs of one row and of several: those of the sample request, or made as the signature says."""
    given = options.sample
    if given is not None:
        inputs, method = given
        row = inputs.slice(0, 1)
    else:
        made = [_made(spec) for spec in model.signature.inputs]
        arrays = tuple(array for array in made if array is not None)
        if not arrays or len(arrays) < len(made):
            return
        row, method = Tensors(arrays, _names(model.signature.inputs)), ""
    for rows in _ROWS:
        repeated = Tensors(tuple(np.concatenate([array] * rows)[:rows] for array in row.arrays), row.names)
        try:
            prepared = model.prepare(repeated, method or model.methods[0])
            model.predict(prepared, model.methods[-1])
        except RequestError:
            # It does not take so many; and whoever scores the sample says what is wrong with that.
            continue
        yield prepared


def _made(spec: TensorSpec) -> Array | None:
    """Return some rows for an input, None where nobody knows what it takes."""
    if spec.dtype == "object" and len(spec.shape) == 1 and spec.name != "image":
        return object_array(_TEXTS)
    sides = spec.shape[1:]
    if not spec.dtype.startswith("float") or not spec.shape or any(side < 1 for side in sides):
        return None
    return np.random.default_rng(0).normal(size=(1, *sides)).astype(spec.dtype)


def _names(specs: Sequence[TensorSpec]) -> tuple[str, ...] | None:
    return tuple(spec.name for spec in specs) if len(specs) > 1 else None


def _difference(original: Model, faster: Model, probe: Tensors, options: LoadOptions) -> float:
    """Return by which share of the largest value the answers differ. Raises _NotCompiledError for too much."""
    method, largest = original.methods[-1], 0.0
    tolerance = _TOLERANCE if options.precision == LoadOptions.precision else _TOLERANCE_OF_HALF
    answers = faster.predict(probe, method).arrays
    for own, found in zip(original.predict(probe, method).arrays, answers, strict=True):
        if found.shape != own.shape or found.dtype != own.dtype:
            raise _NotCompiledError(f"its answer has the shape {list(found.shape)} instead of {list(own.shape)}")
        size = max(float(np.abs(own).max(initial=0)), float(np.finfo(np.float32).tiny))
        apart = float(np.abs(own - found.astype(own.dtype)).max(initial=0)) / size
        if not apart <= tolerance:
            raise _NotCompiledError(f"its answers differ by {apart:.2g} of their size")
        largest = max(largest, apart)
    return largest
