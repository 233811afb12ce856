"""The chart and config.py agree: no variable without a setting, no setting out of the chart's reach."""

from pathlib import Path
from typing import Any

import pytest

from scoring_operator.config import PREFIX, Settings, read_settings, variable
from tests.chart.conftest import Render, Rendered

FULL = Path(__file__).parent / "full-values.yaml"


def _settings(rendered: Rendered) -> Settings:
    """The settings of the operator that the rendered Deployment starts."""
    values = {name: each.get("value", "scoring-system") for name, each in rendered.environment.items()}
    return read_settings(
        {name: value for name, value in values.items() if name.startswith(PREFIX)}, Path("/nonexistent")
    )


def test_every_setting_is_within_the_charts_reach(render: Render) -> None:
    wanted = {variable(field) for field in Settings.model_fields}
    assert {name for name in render(FULL).environment if name.startswith(PREFIX)} == wanted


def test_every_value_arrives(render: Render) -> None:
    settings = _settings(render(FULL))
    assert settings == Settings(
        namespace="scoring-system",
        watch_namespaces=("team-a", "team-b"),
        runtime_images={"sklearn": "registry.example.com/ml/runtime:sklearn-7"},
        image_pull_policy="Always",
        router_image="registry.example.com/ml/router:7",
        ingress_domain="models.example.com",
        ingress_class="traefik",
        ingress_tls="issuer:letsencrypt",
        ingress_namespaces=("traefik",),
        workers=32,
        resync_seconds=86400,
        request_timeout_seconds=10,
        health_host="0.0.0.0",
        health_port=8081,
        leader_election=True,
        log_level="DEBUG",
        log_format="text",
    )


#: What the chart knows better than the program by itself: where it runs, and which images belong to the release.
CHARTS_OWN = {"namespace", "runtime_images", "health_host"}


def test_the_charts_defaults_are_the_programs(render: Render) -> None:
    ours, theirs = _settings(render()).model_dump(), Settings().model_dump()
    assert {field for field in ours if ours[field] != theirs[field]} == CHARTS_OWN


@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_the_probes_and_the_service_ask_the_port_that_is_served(render: Render, values: Any) -> None:
    rendered = render(values)
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    asked = {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")}
    asked |= {each["targetPort"] for each in rendered.one("Service")["spec"]["ports"]}
    assert {ports[name] for name in asked} == {_settings(rendered).health_port}
