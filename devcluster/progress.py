"""Progress lines: what is being done, and how many seconds it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUICK_SECONDS = 0.2
"""A step that took less is not worth a line."""


def say(text: str) -> None:
    """Print one line to standard error; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str, *, always: bool = False) -> Iterator[None]:
    """Print `title` with the seconds its body took; steps too quick to notice stay silent unless `always`."""
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  {title}: failed after {time.monotonic() - start:.1f} s")
        raise
    seconds = time.monotonic() - start
    if always or seconds >= QUICK_SECONDS:
        say(f"  {title}: {seconds:.1f} s")
