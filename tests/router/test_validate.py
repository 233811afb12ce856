"""Every sort of configuration that the operator writes is one that Envoy takes, without a warning.

`envoy --mode validate` reads types, names of extensions, regular expressions and references, all of it for real.
"""

from pathlib import Path

import pytest

from scoring_operator.desired import desired_children
from scoring_operator.envoy import router_files
from scoring_operator.naming import router_name
from scoring_operator.spec import Autoscaling, RequestSettings, ScoringService
from scoring_operator.traffic import Live, plan_traffic
from tests.operator.services import fixture, fixture_names
from tests.router.running import all_ready, scoring_service, validate

pytestmark = pytest.mark.process

SERVICES = {
    "one version, on its way out": scoring_service({}),
    "a split, a mirror, gRPC": scoring_service({}, {"traffic": 20}, {"mirror": 10}, grpc=True),
    "sticky by a header": scoring_service({}, {"traffic": 20}, grpc=True, sticky_header="X-User-Id"),
    "twenty versions": scoring_service(*({"traffic": 5} for _ in range(20))),
    "the largest numbers": scoring_service(
        {
            "replicas": 1000,
            "request_settings": RequestSettings(3600, 1024, 600_000, 1024**3),
        },
        {"replicas": None, "autoscaling": Autoscaling(max_replicas=1000)},
    ),
    "nothing to spare": scoring_service({"replicas": 0, "request_settings": RequestSettings(1, 1, 0, 1)}, {}),
}


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_envoy_takes_the_files(service: ScoringService, tmp_path: Path) -> None:
    assert validate(router_files(service, all_ready(service)), tmp_path) == ""


def test_envoy_takes_a_version_that_leaves(tmp_path: Path) -> None:
    service = scoring_service({}, {})
    traffic = plan_traffic(service.versions, Live(ready=["old"], leaving=("old",), router_ready=True))
    assert traffic.weights == {"old": 100}
    assert validate(router_files(service, traffic, ("old",)), tmp_path) == ""


def test_envoy_says_what_it_does_not_take(tmp_path: Path) -> None:
    files = router_files(SERVICES["a split, a mirror, gRPC"], all_ready(SERVICES["a split, a mirror, gRPC"]))
    broken = {**files, "cds.json": files["cds.json"].replace("FULL_SCAN", "LEAST_EFFORT")}
    assert "LEAST_EFFORT" in validate(broken, tmp_path)
    lost = {**files, "cds.json": files["cds.json"].replace('"name": "v2"', '"name": "v9"')}
    assert "v2" in validate(lost, tmp_path)


@pytest.mark.parametrize("name", fixture_names())
def test_envoy_takes_the_files_of_the_fixtures(name: str, tmp_path: Path) -> None:
    found = fixture(name)
    for child in desired_children(found.service, found.surroundings):
        if child["kind"] == "ConfigMap" and child["metadata"]["name"] == router_name(found.service.name):
            assert validate(child["data"], tmp_path) == ""
            break
    else:
        assert len(found.service.versions) == 1 or found.service.gateway
