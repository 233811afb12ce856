"""The operator's half of the pods' environment and the runtime's half agree.

case                                      expected
each variable in each fixture's pods      accepted by the runtime's own reader
each setting of the runtime               given by the operator, left to the user by name, or of the other command
bounds in the CRD                         those of the runtime's settings
paths that the CRD accepts                accepted as SCORING_PATH_PREFIX
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from granian.http import HTTP1Settings
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.envoy.clusters import IDLE_SECONDS, clusters
from scoring_operator.frameworks import FRAMEWORKS
from scoring_operator.resources.deployment import build_deployment
from scoring_operator.resources.pod import COLLECTION_SECONDS
from scoring_operator.spec.rules import USERS_VARIABLES
from scoring_runtime.batching import Limits
from scoring_runtime.server import COLLECTION_CLOSE_SECONDS
from scoring_runtime.settings import Settings, read_settings, variable
from tests.operator.services import Fixture, fixture, fixture_names, service, surroundings

CRD = yaml.safe_load((Path(__file__).resolve().parents[2] / "crds" / "scoring.dev_scoringservices.yaml").read_text())
SPEC: dict[str, Any] = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def environments(name: str) -> dict[str, dict[str, str]]:
    """Container → the variables that have a plain value."""
    found = fixture(name)
    version = found.service.default_version
    pod = build_deployment(found.service, version, found.surroundings)["spec"]["template"]["spec"]
    containers = pod["initContainers"] + pod["containers"]
    return {
        container["name"]: {
            entry["name"]: entry["value"].replace("$$", "$") for entry in container["env"] if "value" in entry
        }
        for container in containers
    }


@pytest.mark.parametrize("name", fixture_names())
def test_the_runtime_reads_what_the_operator_gives(name: str) -> None:
    found = fixture(name)
    version = found.service.default_version
    environment = environments(name)
    settings = read_settings(environment["runtime"])
    assert settings.framework == version.model.framework
    assert (settings.model_name, settings.model_version) == (found.service.name, version.name)
    assert settings.host == "0.0.0.0"
    assert settings.auth == found.service.auth.value.lower()
    assert settings.timeout_seconds == version.request_settings.timeout_seconds
    assert settings.max_concurrent == version.request_settings.max_concurrent
    assert settings.max_queue_wait_milliseconds == version.request_settings.max_queue_wait_milliseconds
    assert settings.max_body_bytes == version.request_settings.max_body_bytes
    assert settings.batch_max_size == version.batching.max_size
    assert settings.batch_max_delay_milliseconds == version.batching.max_delay_milliseconds
    assert settings.path_prefix == found.service.path_prefix
    assert settings.entry_script == (version.model.entry_script or Settings.model_fields["entry_script"].default)
    assert (settings.port, settings.metrics_port) == (8080, 8082)
    assert settings.grpc_port == (8081 if found.service.grpc else 0)
    assert_tokens_are_read(settings, found)
    collection = version.data_collection
    assert settings.data_collection_uri == (collection.uri if collection else "")
    assert settings.data_collection_format == (collection.format if collection else "jsonl")
    assert settings.data_collection_sampling_percent == (collection.sampling_percent if collection else 100)
    directory = Path("/etc/scoring/collection") if collection and collection.credentials_secret else None
    assert settings.data_collection_credentials_dir == directory
    assert settings.termination_log == Path("/dev/termination-log")
    fetched = read_settings(environment["fetch"])
    assert fetched.model_uri == version.model.uri
    assert fetched.model_sha256 == version.model.sha256
    assert fetched.model_path == settings.model_path


def assert_tokens_are_read(settings: Settings, found: Fixture) -> None:
    token, issuer = found.service.token, found.surroundings.cluster_issuer
    assert issuer is not None
    if token is None:
        assert (settings.token_issuer, settings.token_audience, settings.token_jwks) == ("", (), "")
        return
    assert settings.token_issuer == (token.issuer or issuer.issuer)
    assert settings.token_audience == (token.audience,)
    assert settings.token_jwks == (token.jwks_uri or "/etc/scoring/jwks/jwks.json")
    assert settings.token_subjects == token.subjects


def test_a_pod_has_the_time_that_the_runtime_takes_for_its_records() -> None:
    assert COLLECTION_SECONDS > COLLECTION_CLOSE_SECONDS


def test_every_setting_of_the_runtime_is_given_or_left_to_the_user() -> None:
    given = {name for fixture_name in fixture_names() for part in environments(fixture_name).values() for name in part}
    known = {variable(field) for field in Settings.model_fields}
    ours = {name for name in given if name.startswith("SCORING_")}
    assert ours <= known
    assert known - ours <= set(USERS_VARIABLES)
    assert set(USERS_VARIABLES) <= known


def test_the_page_lists_what_is_left_to_users() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "runtime.md").read_text()
    listed = text.partition("Left to `spec.pod.env` are")[2].partition(".\n")[0]
    assert tuple(re.findall(r"`(SCORING_\w+)`", listed)) == USERS_VARIABLES


@pytest.mark.parametrize(
    ("field", "setting"),
    [
        ("requestSettings.timeoutSeconds", "timeout_seconds"),
        ("requestSettings.maxConcurrent", "max_concurrent"),
        ("requestSettings.maxQueueWaitMilliseconds", "max_queue_wait_milliseconds"),
        ("requestSettings.maxBodyBytes", "max_body_bytes"),
        ("batching.maxSize", "batch_max_size"),
        ("batching.maxDelayMilliseconds", "batch_max_delay_milliseconds"),
    ],
)
def test_what_the_crd_accepts_the_runtime_accepts(field: str, setting: str) -> None:
    part, name = field.split(".")
    schema = SPEC[part]["properties"][name]
    for value in (schema["minimum"], schema["maximum"], schema["default"]):
        assert getattr(read_settings({variable(setting): str(value)}), setting) == value
    assert schema["default"] == Settings.model_fields[setting].default


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_of_the_crd_is_one_of_the_runtime(framework: str) -> None:
    assert read_settings({"SCORING_FRAMEWORK": framework}).framework == framework


segments = st.text(st.sampled_from("aZ9._~-"), min_size=1, max_size=8).filter(lambda part: part not in {".", ".."})


@given(st.lists(segments, min_size=1, max_size=3), st.booleans())
def test_every_path_that_is_accepted_is_a_prefix_to_the_runtime(parts: list[str], slash: bool) -> None:
    of = service(ingress={"path": "/" + "/".join(parts) + ("/" if slash else "")})
    pod = build_deployment(of, of.default_version, surroundings(of))["spec"]["template"]["spec"]
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert read_settings(environment).path_prefix == "/" + "/".join(parts)


def test_the_router_closes_idle_connections_before_the_runtime_does() -> None:
    assert HTTP1Settings().header_read_timeout > IDLE_SECONDS * 1000


@given(st.integers(1, 1024))
def test_the_router_knows_how_many_may_wait_in_a_pod(slots: int) -> None:
    of = service(requestSettings={"maxConcurrent": slots})
    (cluster,) = clusters(of)
    (thresholds,) = cluster["circuit_breakers"]["thresholds"]
    assert thresholds["max_requests"] == Limits(slots=slots).max_requests
