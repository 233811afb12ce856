"""The status: what is in it, that the CRD keeps all of it, and that writing it is idempotent."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scoring_operator.conditions import Cause, Facts, VersionFacts
from scoring_operator.config import Settings
from scoring_operator.errors import Reason
from scoring_operator.spec import ScoringService, parse_service
from scoring_operator.status import (
    Decisions,
    build_status,
    keep_status,
    recorded_images,
    status_patch,
    with_conditions,
)
from scoring_operator.traffic import Live, plan_traffic

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
CRD = yaml.safe_load((ROOT / "crds" / "scoring.dev_scoringservices.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]


def closed(schema: Any) -> Any:
    """The schema with every unknown field refused, because the API server would drop it."""
    if isinstance(schema, dict):
        changed = {key: closed(value) for key, value in schema.items()}
        return {**changed, "additionalProperties": False} if schema.get("type") == "object" else changed
    return [closed(value) for value in schema] if isinstance(schema, list) else schema


def raw(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "scoring.dev/v1alpha1",
        "kind": "ScoringService",
        "metadata": {"name": "iris", "namespace": "team", "uid": "u", "generation": 4},
        "spec": {"model": {"uri": "s3://models/iris/3/", "framework": "sklearn"}, **spec},
    }


def service(**spec: Any) -> ScoringService:
    return parse_service(raw(**spec))


def facts(**changes: Any) -> Facts:
    version = {"name": "default", "wanted": 2, "replicas": 3, "ready": 2, "complete": False, **changes}
    return Facts((VersionFacts(**version),))


DECIDED = Decisions({"default": "sklearn:1"}, plan_traffic(service().versions, Live()))


def whole(given: Facts, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    about = build_status(service(), given, DECIDED, Settings())
    return with_conditions(about, given, {**raw(), "status": previous or {}}, NOW)


FACTS = {
    "updating": facts(progress="loading the model"),
    "ready": facts(replicas=2, complete=True),
    "failed": facts(ready=0, failure=Cause(Reason.MODEL_NOT_FOUND, "404 on s3://models/iris/3/")),
    "nothing yet": Facts(),
    "broken": Facts(error=Cause(Reason.NAME_CONFLICT, "taken")),
}


@pytest.mark.parametrize("case", FACTS)
def test_the_crd_keeps_every_field(case: str) -> None:
    Draft202012Validator(closed(SCHEMA)).validate(whole(FACTS[case]))


def test_what_kubectl_get_shows() -> None:
    status = whole(FACTS["updating"])
    assert status["observedGeneration"] == 4
    assert status["url"] == "http://iris.team.svc"
    assert status["traffic"] == "default=100"
    assert (status["replicas"], status["readyReplicas"], status["replicasSummary"]) == (3, 2, "2/2")
    assert (status["framework"], status["model"]) == ("sklearn", "s3://models/iris/3/")
    assert status["message"] == "2 of 2 replicas ready, loading the model"
    assert status["selector"] == "scoring.dev/service=iris,scoring.dev/version=default"


@pytest.mark.parametrize(
    ("case", "state"),
    [("updating", "Progressing"), ("ready", "Ready"), ("failed", "Failed"), ("nothing yet", "Progressing")],
)
def test_the_state_of_a_version(case: str, state: str) -> None:
    (version,) = whole(FACTS[case])["versions"]
    assert version["state"] == state
    assert version["image"] == "sklearn:1"


def test_zero_is_written_and_not_left_out() -> None:
    assert whole(FACTS["failed"])["readyReplicas"] == 0


def test_a_status_written_twice_is_the_same() -> None:
    first = whole(FACTS["ready"])
    assert status_patch(first, whole(FACTS["ready"], first)) is None


def test_a_failure_that_is_over_leaves_no_message() -> None:
    failed = whole(FACTS["failed"])
    assert "message" in failed["versions"][0]
    after = whole(FACTS["ready"], failed)
    assert "message" not in after["versions"][0]


def test_of_a_service_that_cannot_be_read_the_old_state_is_kept() -> None:
    before = whole(FACTS["ready"])
    assert keep_status(before) == {
        key: before[key] for key in ("url", "selector", "traffic", "framework", "model", "versions")
    }
    assert keep_status({}) == {}


def test_the_recorded_image_counts_while_the_version_is_unchanged() -> None:
    defaults = {"sklearn": "sklearn:2"}
    first = service()
    record = {"versions": [{"name": "default", "image": "sklearn:1", "specHash": first.versions[0].spec_hash}]}
    assert recorded_images(first, record, defaults) == {"default": "sklearn:1"}
    assert recorded_images(first, {}, defaults) == {"default": "sklearn:2"}
    assert recorded_images(first, {}, {}) == {}
    assert recorded_images(service(replicas=5), record, defaults) == {"default": "sklearn:1"}
    edited = service(model={"uri": "s3://models/iris/4/", "framework": "sklearn"})
    assert recorded_images(edited, record, defaults) == {"default": "sklearn:2"}
    assert recorded_images(service(image="mine:1"), record, defaults) == {"default": "mine:1"}


values = st.dictionaries(st.sampled_from("abcde"), st.integers() | st.lists(st.integers(), max_size=2), max_size=5)


@given(values, values)
def test_a_patch_leads_exactly_to_what_is_wanted(current: dict[str, Any], wanted: dict[str, Any]) -> None:
    patch = status_patch(current, wanted)
    assert (patch is None) == (current == wanted)
    merged = {**current, **(patch or {})}
    assert {key: value for key, value in merged.items() if value is not None} == wanted
