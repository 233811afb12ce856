"""The documentation holds together.

- every relative link and every anchor leads somewhere
- every ScoringService in a page or an example is valid
- every condition reason, every command and every flag has its line
- every page is in the index
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from scoring_cli.main import main
from scoring_cli.validation import validate_text
from scoring_operator.errors import Reason
from scoring_runtime import errors
from scoring_runtime.errors import RequestError

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def _tracked(*patterns: str) -> list[Path]:
    """The files that belong to the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in sorted(set(listed.split())) if (ROOT / name).is_file()]


PAGES = _tracked("*.md")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\([^)]*\)", "", heading).replace("[", "") for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(_prose(index))}
    decisions = DOCS / "adr" / "README.md"
    linked |= {(decisions.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(_prose(decisions))}
    pages = {page for page in PAGES if page.is_relative_to(DOCS) and page not in (index,)}
    assert {str(page.relative_to(ROOT)) for page in pages - linked} == set()


def _services() -> Iterator[tuple[str, str]]:
    """Every YAML text of a ScoringService, with its place."""
    for page in PAGES:
        for number, (indent, _, text) in enumerate(_FENCE.findall(page.read_text(encoding="utf-8"))):
            if BROKEN not in text and re.search(r"^ *kind: ScoringService$", text, re.MULTILINE):
                yield f"{page.relative_to(ROOT)}#{number}", re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
    for example in _tracked("examples/*.yaml", "benchmarks/*.yaml"):
        text = example.read_text(encoding="utf-8")
        if re.search(r"^kind: ScoringService$", text, re.MULTILINE):
            yield str(example.relative_to(ROOT)), text


#: Shown to be wrong, with what validate says about it.
BROKEN = "metadata: {name: broken}"


@pytest.mark.parametrize(("place", "text"), [pytest.param(*each, id=each[0]) for each in _services()])
def test_every_scoring_service_shown_is_valid(place: str, text: str) -> None:
    assert validate_text(place, text) == []


def test_every_reason_has_its_line() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    text = page.partition("## Every reason\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(Reason)


def test_every_error_of_the_model_server_has_its_line() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| (\d{3}) `(\w+)` \|", page, re.MULTILINE))
    raised = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, RequestError)]
    assert documented == {(str(each.status), each.code) for each in raised if each is not RequestError}


def _commands() -> Iterator[tuple[str, click.Command]]:
    assert isinstance(main, click.Group)
    yield from main.commands.items()


@pytest.mark.parametrize(("name", "command"), list(_commands()))
def test_every_command_and_flag_has_its_line(name: str, command: click.Command) -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section about {name}"
    for parameter in command.params:
        spellings = parameter.opts if isinstance(parameter, click.Option) else [parameter.name.upper()]
        assert all(spelling in section[1] for spelling in spellings), spellings
    known = {spelling for parameter in command.params for spelling in parameter.opts} | {"--help"}
    assert set(re.findall(r"`(--[a-z-]+)`", section[1])) <= known


def test_the_documented_problem_is_what_validate_says() -> None:
    """The example in docs/cli.md: the manifest above, the output below."""
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    blocks = [(language, block) for _, language, block in _FENCE.findall(text)]
    at = next(index for index, (_, block) in enumerate(blocks) if BROKEN in block)
    problems = validate_text("iris.yaml", blocks[at][1])
    assert blocks[at + 1][1].splitlines()[1:-1] == [str(problem) for problem in problems]
