"""Values that the tests of the embedded cluster share."""

from pathlib import Path

import pytest

from devcluster.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A cache folder of the test's own."""
    return Paths(tmp_path / "cache")
