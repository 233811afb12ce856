"""What one run of the benchmark measured, between the measurement and the report."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.runtime.binary import BinaryResult
from benchmarks.runtime.collection import CollectionResult
from benchmarks.runtime.measure import ImageResult, Result


@dataclass
class Run:
    """Everything that one run measured."""

    command: str
    results: list[Result] = field(default_factory=list)
    images: list[ImageResult] = field(default_factory=list)
    binary: list[BinaryResult] = field(default_factory=list)
    collection: CollectionResult | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that could not be installed, and why."""
    minutes: float = 0
    load_before: float = 0
    """The machine's load average of the last minute before the run; what else runs makes every figure worse."""
