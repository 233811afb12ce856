"""What one run of the benchmark measured, between the measurement and the report."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.runtime.binary import BinaryResult
from benchmarks.runtime.measure import ImageResult, Result
from benchmarks.runtime.rivals import Rivalry
from benchmarks.runtime.turns import Turns


@dataclass
class Run:
    """Everything that one run measured."""

    command: str
    results: list[Result] = field(default_factory=list)
    images: list[ImageResult] = field(default_factory=list)
    binary: list[BinaryResult] = field(default_factory=list)
    rivals: list[Rivalry] = field(default_factory=list)
    """Beside the fastest peers, in turn."""
    collection: Turns | None = None
    """With data collection (`ours`), beside the same server without."""
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that could not be installed, and why."""
    minutes: float = 0
    load_before: float = 0
    """The machine's load average of the last minute before the run; what else runs makes every figure worse."""
