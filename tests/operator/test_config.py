"""The operator's settings: read once, wrong ones refused in one line, all of them documented."""

import re
from pathlib import Path
from typing import Any

import pytest

from scoring_operator.config import ConfigError, LogFormat, Settings, read_settings, variable
from scoring_operator.metrics import Metrics

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text(encoding="utf-8")
NOWHERE = Path("/nonexistent/namespace")


def read(**environ: str) -> Settings:
    return read_settings({f"SCORING_OPERATOR_{name}": value for name, value in environ.items()}, NOWHERE)


def test_without_anything_the_defaults_hold() -> None:
    settings = read_settings({"PATH": "/bin"}, NOWHERE)
    assert settings == Settings()
    assert settings.clusterwide
    assert settings.health_host == "127.0.0.1"


def test_every_setting_can_be_set() -> None:
    settings = read(
        NAMESPACE="scoring-system",
        WATCH_NAMESPACES=" team-a, team-b ,",
        RUNTIME_IMAGES='{"sklearn": "registry/sklearn:1"}',
        IMAGE_PULL_POLICY="Always",
        INGRESS_DOMAIN="models.example.com",
        ROUTER_IMAGE="envoy:1",
        INGRESS_CLASS="traefik",
        INGRESS_TLS="issuer:letsencrypt",
        INGRESS_NAMESPACES="traefik",
        WORKERS="4",
        RESYNC_SECONDS="60",
        REQUEST_TIMEOUT_SECONDS="5",
        HEALTH_HOST="0.0.0.0",
        HEALTH_PORT="0",
        LEADER_ELECTION="true",
        LOG_LEVEL="debug",
        LOG_FORMAT="text",
    )
    assert settings.watch_namespaces == ("team-a", "team-b")
    assert not settings.clusterwide
    assert settings.runtime_images == {"sklearn": "registry/sklearn:1"}
    assert (settings.leader_election, settings.log_level, settings.log_format) == (True, "DEBUG", LogFormat.TEXT)
    given = {name for name in Settings.model_fields if getattr(settings, name) != getattr(Settings(), name)}
    assert given == set(Settings.model_fields), "this test sets each setting to something else than its default"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKER", "4", "SCORING_OPERATOR_WORKER is not a setting"),
        ("workers", "4", "SCORING_OPERATOR_workers is not a setting"),
        ("HEALTHPORT", "8081", "SCORING_OPERATOR_HEALTHPORT is not a setting"),
        ("WORKERS", "many", "SCORING_OPERATOR_WORKERS: Input should be a valid integer"),
        ("WORKERS", "0", "SCORING_OPERATOR_WORKERS: Input should be greater than or equal to 1"),
        ("RUNTIME_IMAGES", "sklearn=x", "SCORING_OPERATOR_RUNTIME_IMAGES: is not JSON"),
        ("RUNTIME_IMAGES", '{"sklearn": ""}', "SCORING_OPERATOR_RUNTIME_IMAGES: names no image for sklearn"),
        ("RUNTIME_IMAGES", "[]", "SCORING_OPERATOR_RUNTIME_IMAGES: Input should be a valid dictionary"),
        ("INGRESS_TLS", "yes", "SCORING_OPERATOR_INGRESS_TLS: must be `selfSigned`"),
        ("INGRESS_TLS", "issuer:", "SCORING_OPERATOR_INGRESS_TLS: must be `selfSigned`"),
        ("INGRESS_DOMAIN", ".example.com", "SCORING_OPERATOR_INGRESS_DOMAIN: must be a domain"),
        ("IMAGE_PULL_POLICY", "Sometimes", "SCORING_OPERATOR_IMAGE_PULL_POLICY: Input should be"),
        ("LEADER_ELECTION", "perhaps", "SCORING_OPERATOR_LEADER_ELECTION: Input should be a valid boolean"),
        ("LOG_LEVEL", "loud", "SCORING_OPERATOR_LOG_LEVEL: Input should be"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(**{name: value})
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_kubernetes_adds_for_a_service_of_our_name_is_ignored() -> None:
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8080",
        "SERVICE_PORT_HTTP": "8080",
        "PORT": "tcp://10.0.0.1:8080",
        "PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "PORT_8080_TCP_PROTO": "tcp",
        "PORT_8080_TCP_ADDR": "10.0.0.1",
        "METRICS_SERVICE_HOST": "10.0.0.1",
        "METRICS_PORT_8080_TCP_PORT": "8080",
    }
    assert read(**links) == Settings()


def test_in_a_pod_the_namespace_is_its_own_and_kubelet_can_reach_the_health_port(tmp_path: Path) -> None:
    file = tmp_path / "namespace"
    file.write_text("scoring-system\n")
    settings = read_settings({}, file)
    assert (settings.namespace, settings.health_host) == ("scoring-system", "0.0.0.0")
    assert read_settings({"SCORING_OPERATOR_NAMESPACE": "other"}, file).namespace == "other"


def test_every_setting_has_its_line_with_its_default() -> None:
    table = PAGE.partition("## Settings\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(SCORING_OPERATOR_\w+)` \| ([^|]+) \|", table, re.MULTILINE))
    assert sorted(rows) == sorted(variable(name) for name in Settings.model_fields)
    for name, value in Settings().model_dump(mode="json").items():
        if value not in ("", [], "default"):
            assert rows[variable(name)].startswith(f"`{as_variable(value)}`"), name


def as_variable(value: Any) -> str:
    """A setting's value as one writes it into the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_metric_has_its_line() -> None:
    table = PAGE.partition("## Health and metrics\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)(?:\{[\w,]+\})?` \|", table, re.MULTILINE))
    offered = set()
    for family in Metrics().registry.collect():
        if family.name.startswith("process_"):
            continue  # prometheus_client's own, documented as a group
        offered.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert documented == offered
