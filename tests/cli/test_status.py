"""kubectl scoring status: a sentence for each thing worth knowing, and an exit code for scripts."""

from typing import Any

import pytest
from click.testing import CliRunner

from scoring_cli.main import main
from scoring_cli.status import describe
from tests.cli.conftest import ApiServer


def _condition(kind: str, status: str, reason: str = "Available", message: str = "1/1 ready") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


READY = {
    "observedGeneration": 1,
    "url": "https://iris.example.com",
    "replicasSummary": "1/1",
    "versions": [{"name": "default", "state": "Ready"}],
    "conditions": [_condition("Ready", "True"), _condition("Stalled", "False"), _condition("IngressReady", "True")],
}


def test_a_ready_service_is_four_lines(api: ApiServer, cli: CliRunner) -> None:
    api.add_service("iris", READY)
    result = cli.invoke(main, ["status", "iris"])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "iris: ready",
        "  URL       https://iris.example.com",
        "  Replicas  1/1",
        "  Version   default Ready",
    ]


def test_a_broken_service_says_why_and_ends_with_1(api: ApiServer, cli: CliRunner) -> None:
    broken = [
        _condition("Ready", "False", "ModelNotFound", "404 on s3://models/iris"),
        _condition("Stalled", "True", "ModelNotFound", "404 on s3://models/iris"),
        _condition("Reconciling", "False"),
    ]
    api.add_service("iris", READY | {"conditions": broken})
    result = cli.invoke(main, ["status", "iris"])
    assert result.exit_code == 1
    assert "iris: not ready" in result.output
    assert "  Ready=False ModelNotFound: 404 on s3://models/iris" in result.output
    assert result.output.count("404 on s3://models/iris") == 1
    assert "Reconciling" not in result.output


def test_a_version_adds_what_no_condition_says(api: ApiServer, cli: CliRunner) -> None:
    versions = [{"name": "v1", "state": "Ready"}, {"name": "v2", "state": "Failed", "message": "no such bucket"}]
    api.add_service("iris", READY | {"versions": versions})
    result = cli.invoke(main, ["status", "iris"])
    assert result.exit_code == 0
    assert "  Version v2: no such bucket" in result.output


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"metadata": {"name": "iris", "generation": 1}}, "no status yet"),
        ({"metadata": {"name": "iris", "generation": 2}, "status": READY}, "has not yet seen the last edit"),
    ],
)
def test_a_status_that_is_not_about_this_spec_is_not_ready(service: dict[str, Any], said: str) -> None:
    report = describe(service)
    assert not report.ready
    assert said in report.text
