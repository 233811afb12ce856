"""The conditions, by the rules of kstatus, over any facts.

1. Ready, Reconciling, Stalled and IngressReady are always there, once each, and complete.
2. Never are Reconciling and Stalled both true.
3. Ready is true exactly when neither is true and the ingress is ready.
4. A Ready that is false has the reason of what is in the way.
5. lastTransitionTime changes when and only when the status does.
"""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_operator.conditions import Cause, Facts, IngressFacts, VersionFacts, conditions, timestamp
from scoring_operator.errors import Reason

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=1)

causes = st.builds(Cause, st.sampled_from(Reason), st.text(min_size=1, max_size=20))
versions = st.builds(
    VersionFacts,
    name=st.sampled_from(["default", "v1", "v2"]),
    wanted=st.integers(0, 3),
    replicas=st.integers(0, 4),
    ready=st.integers(0, 4),
    complete=st.booleans(),
    old_ready=st.booleans(),
    failure=st.none() | causes,
    progress=st.sampled_from(["", "loading the model"]),
    in_place=st.booleans(),
)
ingresses = st.one_of(
    st.builds(
        IngressFacts, st.just(True), st.sampled_from([Reason.INGRESS_ADMITTED, Reason.INGRESS_NOT_WANTED]), st.just("m")
    ),
    st.builds(
        IngressFacts,
        st.just(False),
        st.sampled_from([Reason.INGRESS_CLASS_NOT_FOUND, Reason.TLS_SECRET_NOT_FOUND, Reason.CERTIFICATE_PENDING]),
        st.just("m"),
    ),
)
facts = st.builds(Facts, st.lists(versions, max_size=3).map(tuple), ingresses, st.none() | causes)


def by_type(found: list[Any]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in found}


@given(facts)
def test_kstatus_rules(given_facts: Facts) -> None:
    found = conditions(given_facts, 7, [], NOW)
    assert [condition["type"] for condition in found] == ["Ready", "Reconciling", "Stalled", "IngressReady"]
    for condition in found:
        assert condition["reason"].isidentifier()
        assert condition["message"]
        assert condition["observedGeneration"] == 7
        assert condition["lastTransitionTime"] == "2026-11-21T12:00:00Z"
    status = {kind: condition["status"] == "True" for kind, condition in by_type(found).items()}
    assert not (status["Reconciling"] and status["Stalled"])
    assert status["Ready"] == (not status["Reconciling"] and not status["Stalled"] and status["IngressReady"])
    assert status["IngressReady"] == given_facts.ingress.ready
    assert status["Stalled"] == given_facts.stalled
    if given_facts.settled:
        assert status["Ready"]


@given(facts)
def test_a_false_ready_carries_the_reason_of_what_is_in_the_way(given_facts: Facts) -> None:
    found = by_type(conditions(given_facts, 1, [], NOW))
    for kind in ("Stalled", "Reconciling"):
        if found[kind]["status"] == "True":
            assert found["Ready"]["reason"] == found[kind]["reason"]
            assert found["Ready"]["message"] == found[kind]["message"]


@given(facts, facts)
def test_transition_times_change_exactly_with_the_status(first: Facts, second: Facts) -> None:
    before = conditions(first, 1, [], NOW)
    after = conditions(second, 2, before, LATER)
    for old, new in zip(before, after, strict=True):
        expected = NOW if old["status"] == new["status"] else LATER
        assert new["lastTransitionTime"] == timestamp(expected)


def version(**changes: Any) -> VersionFacts:
    return VersionFacts(**{"name": "default", "wanted": 1, "replicas": 1, "ready": 0, "complete": False, **changes})


MODEL = Cause(Reason.MODEL_NOT_FOUND, "404 on s3://models/iris/4/")
CASES = {
    "ready": ((version(ready=1, complete=True),), "Available", "1 of 1 replica ready"),
    "scaled to zero": (
        (version(wanted=0, replicas=0, complete=True),),
        "ScaledToZero",
        "scaled to 0 replicas: nothing answers",
    ),
    "starting": ((version(progress="loading the model"),), "Deploying", "0 of 1 replica ready, loading the model"),
    "failed": ((version(failure=MODEL),), "ModelNotFound", "404 on s3://models/iris/4/"),
    "failed update": (
        (version(failure=MODEL, ready=1, old_ready=True),),
        "ModelNotFound",
        "404 on s3://models/iris/4/; the previous version keeps serving (1 of 1 replica ready)",
    ),
    "failed scale-up": (
        (version(wanted=3, ready=2, failure=Cause(Reason.UNSCHEDULABLE, "0/1 nodes have enough cpu")),),
        "Unschedulable",
        "0/1 nodes have enough cpu; 2 of 3 replicas ready",
    ),
    "gpu update of one": (
        (version(in_place=True),),
        "Deploying",
        "0 of 1 replica ready; updating in place to free its GPU: nothing answers until the new pod is ready",
    ),
    "gpu update of more": (
        (version(wanted=2, replicas=2, ready=1, in_place=True),),
        "Deploying",
        "1 of 2 replicas ready; updating in place to free GPUs: one replica less answers meanwhile",
    ),
    "one version of two": (
        (version(ready=1, complete=True), version(name="v2", failure=MODEL)),
        "ModelNotFound",
        "version v2: 404 on s3://models/iris/4/",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_of_ready(case: str) -> None:
    given_versions, reason, message = CASES[case]
    ready = conditions(Facts(given_versions), 1, [], NOW)[0]
    assert (ready["reason"], ready["message"]) == (reason, message)


@pytest.mark.parametrize(
    ("reason", "stalls"),
    [
        (Reason.MODEL_NOT_FOUND, True),
        (Reason.IMAGE_PULL_FAILED, True),
        (Reason.INVALID_SPEC, True),
        (Reason.NAME_CONFLICT, True),
        (Reason.MODEL_SOURCE_UNAVAILABLE, False),
        (Reason.UNSCHEDULABLE, False),
        (Reason.API_UNAVAILABLE, False),
    ],
)
def test_what_needs_somebody_stalls_and_what_may_pass_does_not(reason: Reason, stalls: bool) -> None:
    assert Cause(reason, "m").stalls is stalls
