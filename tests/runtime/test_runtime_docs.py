"""Nothing that a user can set or see is undocumented, and nothing documented is gone."""

import re
from pathlib import Path

import pytest

from scoring_runtime import errors
from scoring_runtime.batching import Limits
from scoring_runtime.fetch import SCHEMES, archives
from scoring_runtime.frameworks import FRAMEWORKS
from scoring_runtime.metrics import CONDITIONAL, Metrics
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings, variable

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    """The sections of docs/runtime.md by heading."""
    _, *parts = re.split(r"^## (.+)$", (DOCS / "runtime.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def first_column(section: str) -> list[str]:
    """What stands in the first column of a section's table rows, without backticks."""
    cells = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")][2:]
    return [cell.replace("`", "") for cell in cells]


def rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def test_settings(sections: dict[str, str]) -> None:
    assert first_column(sections["Settings"]) == [variable(field) for field in Settings.model_fields]


@pytest.mark.parametrize("field", Settings.model_fields)
def test_defaults(sections: dict[str, str], field: str) -> None:
    documented = {row[0]: row[1] for row in rows(sections["Settings"])}[variable(field)]
    default = Settings.model_fields[field].default
    assert documented == ("" if default in (None, (), "") else str(default))


def test_settings_have_docstrings() -> None:
    source = (Path(errors.__file__).parent / "settings.py").read_text()
    for field in Settings.model_fields:
        assert re.search(rf'^    {field}: .*(\n    .*)?\n    """\S', source, flags=re.MULTILINE), field


def test_error_codes(sections: dict[str, str]) -> None:
    kinds = [errors.RequestError, *errors.RequestError.__subclasses__()]
    documented = {(int(status), code) for status, code, _ in rows(sections["Errors"])}
    assert documented == {(kind.status, kind.code) for kind in kinds}


def test_reasons(sections: dict[str, str]) -> None:
    documented = first_column(sections["When the process ends by itself"])
    assert sorted(documented) == sorted({kind.reason for kind in errors.StartupError.__subclasses__()})


def test_metrics(sections: dict[str, str]) -> None:
    metrics = Metrics()
    metrics.watch(Serving(Limits()), Settings())
    metrics.request_done(503, "NotReady", 0.1)
    exposed = {
        line.split()[2]
        for line in metrics.exposition().decode().splitlines()
        if line.startswith("# TYPE") and not line.split()[2].startswith("process_")
    }
    documented = {re.sub(r"\{.*", "", name) for name in first_column(sections["Metrics"])}
    assert documented == {name for name in exposed if not name.endswith("_created")} | set(CONDITIONAL)


def test_frameworks_and_schemes(sections: dict[str, str]) -> None:
    assert set(first_column(sections["Models"])) == set(FRAMEWORKS)
    schemes = ", ".join(first_column((DOCS / "model-sources.md").read_text()))
    assert set(schemes.split(", ")) == set(SCHEMES)
    for suffix in archives.TAR_SUFFIXES + archives.ZIP_SUFFIXES:
        assert f"`{suffix}`" in sections["Fetching"]


def test_numbers_in_the_text(sections: dict[str, str]) -> None:
    assert f"{archives.MAX_FILES:,} files" in sections["Fetching"]
    assert f"{archives.MAX_RATIO} times" in sections["Fetching"]
    from scoring_runtime import batching

    said = f"At most {batching.MIN_WAITING} requests, or {batching.WAITING_PER_SLOT} for each slot"
    assert said in sections["Batching, slots and overload"]


def test_numbers_of_data_collection() -> None:
    from scoring_runtime.collection.collector import REASONS, Limits
    from scoring_runtime.collection.documents import MAX_VALUES
    from scoring_runtime.server import COLLECTION_CLOSE_SECONDS

    text = " ".join((DOCS / "data-collection.md").read_text().split())
    limits = Limits()
    for said in (
        f"more than {MAX_VALUES:,} values",
        f"for at most {COLLECTION_CLOSE_SECONDS:.0f} seconds",
        f"at most {limits.waiting >> 20} MiB wait",
        f"more than {limits.record >> 20} MiB together",
        f"after a minute or at {limits.object >> 20} MiB",
        f"after 1, 2, 4 … {limits.longest_pause:.0f} seconds",
        *(f"`{reason}`" for reason in REASONS),
    ):
        assert said in text, said
    assert (limits.object_seconds, limits.first_pause) == (60, 1)
