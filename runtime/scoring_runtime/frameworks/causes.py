"""What goes wrong with models of any library: its words made short, and the errors that all frameworks raise."""

from __future__ import annotations

from collections.abc import Iterable

from scoring_runtime.errors import InputRejected, ModelFailed, ModelTooLarge
from scoring_runtime.tensors import Array

MAX_CHARACTERS = 300


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its class where it says nothing."""
    return str(error).strip().partition("\n")[0][:MAX_CHARACTERS] or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return all that an error says as one line, or its class where it says nothing."""
    return " ".join(str(error).split())[:MAX_CHARACTERS] or type(error).__name__


def too_large(model: str) -> ModelTooLarge:
    """Return the error for a model, by its name, for which the memory is too small."""
    return ModelTooLarge(f"{model} does not fit the memory; raise resources.limits.memory")


def batch_too_large(where: str = "there is") -> ModelFailed:
    """Return the error for rows that a loaded model has no memory for; `where` is "the GPU has" for that of a GPU."""
    return ModelFailed(f"{where} no memory left for this batch; lower batching.maxSize")


def check_rows(results: Iterable[Array], rows: int, remedy: str = "") -> None:
    """Raise ModelFailed unless every result has one entry for each of so many rows; `remedy` ends its message."""
    for result in results:
        if result.ndim == 0 or len(result) != rows:
            got = "a single value" if result.ndim == 0 else f"{len(result)} results"
            raise ModelFailed(f"the model returned {got} for {rows} rows{remedy}")


def refused(said: str) -> InputRejected:
    """Return the error for rows that the model itself refuses, with its words."""
    return InputRejected(f"the model refused the input: {said}")
