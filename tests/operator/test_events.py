"""Events: what is told, how often, and that they never stand in the way."""

import datetime as dt
from typing import Any

import pytest

from scoring_operator.conditions import Cause, Facts, IngressFacts, VersionFacts
from scoring_operator.errors import Reason
from scoring_operator.events import EventRecorder, News, listed, readiness_news
from scoring_operator.kinds import EVENT
from scoring_operator.kube import ForbiddenError
from tests.operator.fake_kube import FakeKube

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
IRIS = {
    "apiVersion": "scoring.dev/v1alpha1",
    "kind": "ScoringService",
    "metadata": {"name": "iris", "namespace": "team", "uid": "u", "resourceVersion": "7"},
}
NEWS = News("ModelNotFound", "404 on s3://models/iris/4/", warning=True)


def recorder() -> tuple[FakeKube, EventRecorder]:
    kube = FakeKube()
    return kube, EventRecorder(kube)  # type: ignore[arg-type]


async def test_an_event_is_about_the_service() -> None:
    kube, events = recorder()
    await events.post(IRIS, NEWS, NOW)
    ((kind, namespace, _), event), *_ = kube.objects.items()
    assert (kind, namespace) == (EVENT, "team")
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "ModelNotFound", "404 on s3://models/iris/4/")
    assert event["regarding"]["uid"] == "u"
    assert event["eventTime"] == "2026-11-21T12:00:00.000000Z"


async def test_the_same_news_is_counted_and_not_posted_again() -> None:
    kube, events = recorder()
    for minutes in (0, 1, 2, 6, 7):
        await events.post(IRIS, NEWS, NOW + dt.timedelta(minutes=minutes))
    (event,) = kube.objects.values()
    assert event["series"] == {"count": 4, "lastObservedTime": "2026-11-21T12:06:00.000000Z"}
    assert [call[0] for call in kube.calls] == ["create", "merge"]


async def test_an_event_that_ran_out_is_posted_anew() -> None:
    kube, events = recorder()
    await events.post(IRIS, NEWS, NOW)
    kube.objects.clear()
    await events.post(IRIS, NEWS, NOW + dt.timedelta(hours=2))
    await events.post(IRIS, NEWS, NOW + dt.timedelta(hours=2))
    assert len(kube.objects) == 1


async def test_other_news_and_news_about_another_service_are_posted() -> None:
    kube, events = recorder()
    await events.post(IRIS, NEWS, NOW)
    await events.post(IRIS, News("Ready", "1 of 1 replica ready"), NOW)
    await events.post({**IRIS, "metadata": {**IRIS["metadata"], "uid": "w"}}, NEWS, NOW)  # type: ignore[dict-item]
    assert len(kube.objects) == 3


async def test_an_event_that_may_not_be_posted_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    kube, events = recorder()
    kube.refuse = lambda *_: ForbiddenError("events are forbidden", 403)
    await events.post(IRIS, NEWS, NOW)
    assert "events are forbidden" in caplog.text


def status(ready: str, reason: str, message: str = "m") -> dict[str, Any]:
    return {
        "url": "https://iris",
        "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}],
    }


WELL = Facts((VersionFacts("default", 1, 1, 1, complete=True),))
WAITING = Facts((VersionFacts("default", 1, 1, 0, complete=False),))
FAILING = Facts((VersionFacts("default", 1, 1, 0, complete=False, failure=Cause(Reason.MODEL_NOT_FOUND, "m")),))
CLOSED = Facts(ingress=IngressFacts(False, Reason.TLS_SECRET_NOT_FOUND, "m"))


@pytest.mark.parametrize(
    ("facts", "before", "after", "told"),
    [
        (WAITING, {}, status("False", "Deploying"), []),
        (WELL, status("False", "Deploying"), status("True", "Available"), ["Ready"]),
        (WELL, status("True", "Available"), status("True", "Available"), []),
        (WELL, {}, status("True", "Available"), ["Ready"]),
        (WAITING, status("True", "Available"), status("False", "Deploying"), []),
        (FAILING, status("False", "Deploying"), status("False", "ModelNotFound"), ["ModelNotFound"]),
        (FAILING, status("False", "ModelNotFound"), status("False", "ModelNotFound", "other words"), []),
        (CLOSED, status("True", "Available"), status("False", "TLSSecretNotFound"), ["TLSSecretNotFound"]),
    ],
)
def test_readiness_is_told_when_it_changes(
    facts: Facts, before: dict[str, Any], after: dict[str, Any], told: list[str]
) -> None:
    assert [news.reason for news in readiness_news(facts, before, after)] == told


def test_long_lists_are_cut() -> None:
    assert listed(("a", "b")) == "a, b"
    assert listed(tuple("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"
