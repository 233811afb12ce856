"""A model that cannot be served: Ready=False with a reason, MESSAGE with the cause, the old pods keep serving.

case                               reason
no such object                     ModelNotFound
wrong sha256                       ModelChecksumMismatch
a web page under a model's name    ModelInvalid
a library that the image lacks     FrameworkMissing
pickled by another version         ModelIncompatible
too large for the memory limit     ModelTooLarge
no such credentials Secret         ConfigError
a claim that does not exist        Unschedulable
"""

import pytest

from tests.e2e.cluster import Namespace
from tests.e2e.test_lifecycle import settled
from tests.e2e.test_serving import FLOWERS, eventually_answered

pytestmark = pytest.mark.e2e

CASES = {
    "no-such-object": ({"uri": "s3://models/no-such-model/"}, "ModelNotFound", "s3://models/no-such-model/"),
    "wrong-sha256": ({"sha256": "0" * 64}, "ModelChecksumMismatch", "0000"),
    "web-page": ({"uri": "s3://models/webpage/"}, "ModelInvalid", "HTML"),
    "missing-library": ({"uri": "s3://models/missing-library/"}, "FrameworkMissing", "lightgbm_of_tomorrow"),
    "other-version": ({"uri": "s3://models/other-version/"}, "ModelIncompatible", "scikit-learn"),
    "too-large": ({"uri": "s3://models/hungry/"}, "ModelTooLarge", "memory"),
    "no-credentials": ({"credentials": {"secretName": "nowhere"}}, "ConfigError", "nowhere"),
    "no-claim": ({"uri": "pvc://no-such-claim/iris", "credentials": None}, "Unschedulable", "no-such-claim"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_says_what_is_wrong(namespace: Namespace, iris: dict, case: str) -> None:
    changes, reason, words = CASES[case]
    model = {key: value for key, value in {**iris["model"], **changes}.items() if value is not None}
    namespace.apply("bad", {**iris, "model": model})
    service = namespace.wait_reason("bad", reason)
    assert words in service["status"]["message"]
    assert words in namespace.condition("bad", "Ready")["message"]
    assert service["status"]["readyReplicas"] == 0
    table = namespace.run("get", "scoringservices", "-o", "wide").stdout
    assert words in table
    events = namespace.run("events", "--for", "scoringservice/bad").stdout
    assert reason in events


def test_the_old_model_keeps_serving_until_the_new_one_can(namespace: Namespace, iris: dict) -> None:
    spec = namespace.published(iris)
    namespace.deploy("keep", spec)
    client = namespace.client("keep")
    eventually_answered(client, FLOWERS)

    namespace.apply("keep", {**spec, "model": {**spec["model"], "uri": "s3://models/webpage/"}})
    service = namespace.wait_reason("keep", "ModelInvalid")
    assert "previous version keeps serving" in service["status"]["message"]
    assert service["status"]["readyReplicas"] == 1
    assert client.score(FLOWERS).status == 200

    namespace.apply("keep", spec)
    settled(namespace, "keep")
    assert client.score(FLOWERS).status == 200
