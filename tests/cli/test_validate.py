"""kubectl scoring validate.

- good services, of every shape, pass
- unknown fields, wrong types, missing and contradicting fields: file, line, object and field are named
- several documents, a List, folders, stdin, JSON; other kinds are passed over
- text that is not YAML; another apiVersion
"""

import json
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scoring_cli.main import main
from scoring_cli.validation import validate_text

GOOD = """\
apiVersion: scoring.dev/v1alpha1
kind: ScoringService
metadata: {name: iris}
spec:
  model: {uri: s3://models/iris/3/, framework: sklearn}
"""


def _validate(cli: CliRunner, path: Path, text: str, *more: str) -> Result:
    path.write_text(text)
    return cli.invoke(main, ["validate", str(path), *more])


def test_a_good_service_is_valid(cli: CliRunner, tmp_path: Path) -> None:
    result = _validate(cli, tmp_path / "iris.yaml", GOOD)
    assert result.exit_code == 0, result.output
    assert result.output == "1 ScoringService: valid\n"


def _with(line: str) -> str:
    return GOOD + line + "\n"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (_with("  replica: 2"), (6, "spec.replica"), "did you mean `replicas`?"),
        (_with("  pods: {}"), (6, "spec.pods"), "did you mean `pod`?"),
        (_with("  zzz: {}"), (6, "spec.zzz"), "the fields here are"),
        (_with("  replicas: two"), (6, "spec.replicas"), "must be of type integer, not 'two'"),
        (_with("  replicas: -1"), (6, "spec.replicas"), "must be at least 0, not -1"),
        (_with("  auth: {type: Basic}"), (6, "spec.auth.type"), "must be one of"),
        (_with("  pod:\n    env:\n    - value: x"), (8, "spec.pod.env[0].name"), "is required"),
        (GOOD.replace("uri: s3", "url: s3"), (5, "spec.model.url"), "did you mean `uri`?"),
        (GOOD.replace("v1alpha1", "v1"), (1, "apiVersion"), "'scoring.dev/v1' is not served: use scoring.dev/v1alpha1"),
        (GOOD.replace("spec:", "spek:"), (4, "spek"), "did you mean `spec`?"),
        (GOOD.replace("sklearn", "fortran"), (5, "spec.model.framework"), "sklearn"),
        (_with("  autoscaling: {}\n  replicas: 2"), (4, "spec"), "replicas and autoscaling exclude each other"),
        (GOOD.replace("s3://models/iris/3/", "ftp://models/iris"), (5, "spec.model.uri"), "s3://"),
        (GOOD.replace("iris}", "Iris}"), (3, "metadata"), "metadata.name must start with a letter"),
    ],
)
def test_a_problem_is_named_with_its_place(
    cli: CliRunner, tmp_path: Path, text: str, place: tuple[int, str], said: str
) -> None:
    file, (line, field) = tmp_path / "bad.yaml", place
    result = _validate(cli, file, text)
    assert result.exit_code == 1
    places = [
        printed for printed in result.output.splitlines() if printed.startswith(f"{file}:{line}: ScoringService ")
    ]
    assert any(f": {field}: " in place and said in place for place in places), result.output


def test_everything_wrong_is_named_at_once(cli: CliRunner, tmp_path: Path) -> None:
    result = _validate(cli, tmp_path / "bad.yaml", _with("  replica: 2\n  gpus: 1\n  replicas: two"))
    assert result.exit_code == 1
    assert result.output.endswith("1 ScoringService: 3 problems\n")


def test_other_kinds_are_passed_over(cli: CliRunner, tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"
    result = _validate(cli, tmp_path / "both.yaml", f"{secret}---\n{GOOD}---\n# nothing here\n")
    assert result.exit_code == 0, result.output
    assert result.output == "1 ScoringService, 1 other object passed over: valid\n"


def test_the_second_document_has_its_own_lines(cli: CliRunner, tmp_path: Path) -> None:
    result = _validate(cli, tmp_path / "two.yaml", f"{GOOD}---\n{_with('  replica: 1')}")
    assert f"{tmp_path}/two.yaml:12: ScoringService iris: spec.replica" in result.output


def test_a_list_is_looked_into(cli: CliRunner, tmp_path: Path) -> None:
    items = "- " + textwrap.indent(_with("  replica: 1"), "  ").lstrip()
    result = _validate(cli, tmp_path / "list.yaml", f"apiVersion: v1\nkind: List\nitems:\n{items}")
    assert result.exit_code == 1
    assert "list.yaml:9: ScoringService iris: spec.replica" in result.output


def test_folders_json_and_stdin_are_read(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "iris.yml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("not: looked: at")
    service = {"apiVersion": "scoring.dev/v1alpha1", "kind": "ScoringService", "metadata": {"name": "faq"}}
    service["spec"] = {"model": {"uri": "pvc://models/faq", "framework": "pytorch"}}
    (tmp_path / "faq.json").write_text(json.dumps(service))
    result = cli.invoke(main, ["validate", str(tmp_path), "-"], input=GOOD)
    assert result.exit_code == 0, result.output
    assert result.output == "3 ScoringServices: valid\n"


def test_a_file_that_is_not_yaml_is_named_and_the_others_are_still_read(cli: CliRunner, tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(GOOD)
    result = _validate(cli, tmp_path / "broken.yaml", "kind: ScoringService\n  spec: [", str(good))
    assert result.exit_code == 1
    assert f"{tmp_path}/broken.yaml:2: is not YAML" in result.output
    assert "1 ScoringService: 1 problem" in result.output


@pytest.mark.parametrize("text", ["", "---\n", "- a\n- b\n", "just text", "kind: ScoringService\n"])
def test_text_without_a_service_has_no_problems(text: str) -> None:
    assert validate_text("text", text) == []


def test_a_service_that_is_not_even_an_object_is_a_problem_and_no_crash() -> None:
    header = "apiVersion: scoring.dev/v1alpha1\nkind: ScoringService\n"
    for rest in ("", "metadata: iris\n", "metadata: {}\nspec: 3\n", "metadata: {name: 3}\nspec: {}\n", "spec: []\n"):
        assert validate_text("text", header + rest), rest


def test_a_file_that_does_not_exist_is_a_wrong_call(cli: CliRunner, tmp_path: Path) -> None:
    assert cli.invoke(main, ["validate", str(tmp_path / "nothing.yaml")]).exit_code == 2
