"""Wrong values end the installation, and the message names the value."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.conftest import Render


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 2}, "'replica' not allowed"),
        ({"ingress": {"host": "x"}}, "'host' not allowed"),
        ({"metrics": {"serviceMonitor": {"enabled": True, "intervall": "1m"}}}, "'intervall' not allowed"),
        ({"replicas": 0}, "/replicas"),
        ({"replicas": "2"}, "/replicas"),
        ({"workers": 0}, "/workers"),
        ({"logLevel": "verbose"}, "/logLevel"),
        ({"ingress": {"tls": "letsencrypt"}}, "/ingress/tls"),
        ({"ingress": {"domain": ".example.com"}}, "/ingress/domain"),
        ({"watchNamespaces": "team-a"}, "/watchNamespaces"),
        ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
        ({"watchNamespaces": ["a", "a"]}, "/watchNamespaces"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"runtimeImages": {"sklearn": "has space"}}, "/runtimeImages/sklearn"),
        ({"router": {"image": ""}}, "/router/image"),
        ({"extraEnv": [{"name": "SCORING_OPERATOR_WORKERS", "value": "1"}]}, "/extraEnv/0/name"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "'app.kubernetes.io/name'"),
        ({"networkPolicy": {"apiServerCIDRs": ["10.0.0.1"]}}, "/networkPolicy/apiServerCIDRs/0"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
        (
            {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
            "serviceMonitor.enabled needs metrics.service.enabled",
        ),
    ],
)
def test_a_wrong_value_is_refused(render: Render, values: Mapping[str, Any], said: str) -> None:
    rendered = render(values)
    assert rendered.code != 0
    assert said in rendered.error
