"""What a conversion of a model is, whatever it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from scoring_runtime.tensors import Array, Tensors


class NotConvertibleError(Exception):
    """The model cannot be converted; the message says why, as the end of a sentence."""


class Answer(NamedTuple):
    """What a conversion gives for some rows, and for classes what they were chosen by: [rows, classes]."""

    values: Array
    scores: Array | None = None


class Conversion(Protocol):
    """A converted model, of which only what was compared with the original is used."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that it answers."""

    @property
    def probes(self) -> Sequence[Tensors]:
        """Prepared inputs to compare it with: generated ones, the same each time."""

    @property
    def narrow_probes(self) -> Sequence[Tensors]:
        """The same rows in float32, if a client may send either; the original may compute in float32 then."""

    def leave_narrow(self) -> None:
        """From now on leave rows of float32 to the original."""

    def run(self, inputs: Tensors, method: str) -> Answer | None:
        """Return the answer for prepared rows, or None for rows of a kind that it was not made for."""


def cpu_session(content: bytes, cores: int) -> Any:
    """Return a session for a graph. Raises NotConvertibleError when ONNX Runtime cannot run it."""
    # Whoever asks for the conversion of a model finds out here whether the image can do it.
    import onnxruntime as ort  # type: ignore[import-untyped]

    from scoring_runtime.frameworks.onnx import cause_of, session_options

    ort.set_default_logger_severity(4)
    try:
        return ort.InferenceSession(content, session_options(cores), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise NotConvertibleError(f"ONNX Runtime cannot run what it was converted to ({cause_of(error)})") from error
