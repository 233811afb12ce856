"""What all tests share: golden files, compared by default and written with --update-goldens; and that hypothesis
looks at the same examples each time, so that a change is judged by what it changed. The slow tests look at new ones,
and `--hypothesis-profile=default` lets all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same-examples", derandomize=True, deadline=None)
settings.load_profile("same-examples")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a file under tests; with --update-goldens write it there."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} does not exist: run pytest with --update-goldens and look at what it wrote"
        assert text == path.read_text(encoding="utf-8"), f"{path.name} differs: if that is meant, --update-goldens"

    return compare
