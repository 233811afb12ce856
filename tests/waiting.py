"""How tests wait: until something is so, however slow the machine is, and never by its clock."""

import time
from collections.abc import Callable
from typing import Any

# What has not happened by then will not; in seconds. It costs nothing but to a test that fails.
PATIENCE = 200


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Return once `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what or condition}"
        time.sleep(0.005)
