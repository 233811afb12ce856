"""`kubectl scoring validate`: files → problems, with file, line and field, without a cluster."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scoring_cli.schema import FieldPath, find_schema_problems
from scoring_operator.errors import SpecError
from scoring_operator.spec import GROUP, KIND, parse_service, wire
from scoring_operator.spec.rules import broken_rules

_SUFFIXES = (".yaml", ".yml", ".json")
_MERGE_KEY = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Problem:
    """One thing to mend, printed as `file:line: object: field: message`."""

    source: str
    line: int
    subject: str
    field: str
    message: str

    def __str__(self) -> str:
        parts = [f"{self.source}:{self.line}", self.subject, self.field, self.message]
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True)
class Report:
    """The outcome for all files."""

    services: int
    others: int
    problems: tuple[Problem, ...]

    def summary(self) -> str:
        """Return the last line of the output."""
        passed = f", {self.others} other object{_s(self.others)} passed over" if self.others else ""
        verdict = f"{len(self.problems)} problem{_s(len(self.problems))}" if self.problems else "valid"
        return f"{self.services} ScoringService{_s(self.services)}{passed}: {verdict}"


@dataclass(frozen=True)
class _Document:
    """One YAML document with its place, so that a field can be pointed at."""

    source: str
    node: yaml.Node
    raw: Any

    def line(self, path: FieldPath = ()) -> int:
        """Return the line (from 1) of the field at `path`, or of the nearest field above it that exists."""
        node = self.node
        line = node.start_mark.line
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return int(line) + 1


def validate_paths(paths: Iterable[Path]) -> Report:
    """Validate every YAML or JSON file among `paths` and below the folders among them; `-` is stdin."""
    services = others = 0
    problems: list[Problem] = []
    for source, text in _texts(paths):
        try:
            documents = list(_documents(source, text))
        except yaml.YAMLError as error:
            problems.append(_syntax_problem(source, error))
            continue
        for document in documents:
            if _is_service(document.raw):
                services += 1
                problems += _service_problems(document)
            else:
                others += 1
    return Report(services, others, tuple(problems))


def validate_text(source: str, text: str) -> list[Problem]:
    """Validate the ScoringServices in a YAML text; `source` is what problems name as their file."""
    return [
        problem
        for document in _documents(source, text)
        if _is_service(document.raw)
        for problem in _service_problems(document)
    ]


def _texts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if str(path) == "-":
            yield "stdin", sys.stdin.read()
        elif path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES and each.is_file())
            yield from ((str(each), each.read_text(encoding="utf-8")) for each in files)
        else:
            yield str(path), path.read_text(encoding="utf-8")


def _documents(source: str, text: str) -> Iterator[_Document]:
    """Split a text into documents; a `kind: List` counts as the objects in it."""
    for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
        document = _Document(source, node, _construct(node))
        items = _child(node, "items")
        if isinstance(document.raw, Mapping) and document.raw.get("kind") == "List" and items is not None:
            each_node = items[1].value
            yield from (_Document(source, each, _construct(each)) for each in each_node)
        elif document.raw is not None:
            yield document


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _is_service(raw: Any) -> bool:
    """Tell whether an object means to be a ScoringService, of whatever version."""
    return isinstance(raw, Mapping) and raw.get("kind") == KIND and str(raw.get("apiVersion")).startswith(f"{GROUP}/")


def _service_problems(document: _Document) -> list[Problem]:
    """Return the schema's problems, or where there is none what the operator's parser refuses."""
    subject = f"{KIND} {_name(document.raw)}"
    found = [
        Problem(document.source, document.line(each.path), subject, _dotted(each.path), each.message)
        for each in find_schema_problems(document.raw)
    ]
    if found:
        return sorted(found, key=lambda problem: problem.line)
    return [
        Problem(document.source, document.line(_path(field)), subject, field, sentence)
        for field, sentence in _refusals(document.raw)
    ]


def _refusals(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return field and sentence for everything that the operator would refuse about an object of the right shape."""
    try:
        parse_service(raw)
    except SpecError as error:
        return [_split(each) for each in _broken_rules(raw)] or [("", error.message)]
    return []


def _broken_rules(raw: Mapping[str, Any]) -> list[str]:
    """Return the parser's sentences one by one; none where it could not even read the object's shape."""
    try:
        service = wire.Service.model_validate(raw)
    except ValidationError:
        return []
    return [*broken_rules(service.metadata, "metadata"), *broken_rules(service.spec, "spec")]


def _split(problem: str) -> tuple[str, str]:
    """Split `spec.model.uri: sentence`."""
    field, _, sentence = problem.partition(": ")
    return field, sentence


def _path(field: str) -> FieldPath:
    """Read a dotted path back: the inverse of `_dotted`."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", field)
    return tuple(int(index) if index else name for index, name in parts)


def _name(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    return str(metadata.get("name", "without a name")) if isinstance(metadata, Mapping) else "without a name"


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """Return the line and node of a mapping's entry or a sequence's item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag != _MERGE_KEY and key.value == str(part):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line, item
    return None


def _dotted(path: FieldPath) -> str:
    """Write a path as kubectl does: spec.versions[0].model.uri."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _syntax_problem(source: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return Problem(source, mark.line + 1 if mark else 1, "", "", f"is not YAML: {what}")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
