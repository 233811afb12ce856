"""The alerts ask for metrics that the operator has, and find its own target; docs/install.md has a line for each."""

import re
from pathlib import Path
from typing import Any

import pytest

from scoring_operator.metrics import Metrics
from tests.chart.conftest import ROOT, Render, Rendered

FULL = Path(__file__).parent / "full-values.yaml"


@pytest.fixture
def rendered(render: Render) -> Rendered:
    return render(FULL)


@pytest.fixture
def alerts(rendered: Rendered) -> list[dict[str, Any]]:
    (group,) = rendered.one("PrometheusRule")["spec"]["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _label_names() -> dict[str, set[str]]:
    """The metrics of the operator, each with its labels; a counter has the name that Prometheus gives it."""
    found = {}
    for collector in vars(Metrics()).values():
        for each in collector.values() if isinstance(collector, dict) else [collector]:
            if hasattr(each, "describe") and hasattr(each, "_labelnames"):
                (family,) = each.describe()
                suffix = "_total" if family.type == "counter" else ""
                found[family.name + suffix] = set(each._labelnames)
    return found


def test_every_alert_asks_for_a_metric_that_exists(alerts: list[dict[str, Any]]) -> None:
    known = _label_names()
    for alert in alerts:
        selectors = re.findall(r"(scoring_\w+)\{([^}]*)\}", alert["expr"])
        assert selectors, alert
        for metric, labels in selectors:
            asked = set(re.findall(r"(\w+)=", labels))
            assert {"namespace", "job"} <= asked
            assert asked - {"namespace", "job"} <= known[metric], metric


def test_the_states_and_results_exist(alerts: list[dict[str, Any]]) -> None:
    text = "".join(alert["expr"] for alert in alerts)
    source = (ROOT / "operator" / "scoring_operator" / "metrics.py").read_text()
    for value in re.findall(r'(?:state|result)="(\w+)"', text):
        assert re.search(rf"\b{value}\b", source), value


def test_the_alerts_look_at_the_service_that_is_scraped(rendered: Rendered, alerts: list[dict[str, Any]]) -> None:
    service = rendered.one("Service")["metadata"]
    for alert in alerts:
        assert f'namespace="{service["namespace"]}",job="{service["name"]}"' in alert["expr"]
        assert alert["labels"]["team"] == "ml-platform"


def test_every_alert_has_its_line_in_the_docs(alerts: list[dict[str, Any]]) -> None:
    documented = re.findall(r"^\| `(Scoring\w+)` \|", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert documented == [alert["alert"] for alert in alerts]
