"""What callers asked and were answered, in the object store of the cluster.

case                          expected
JSON Lines                    a record of each request; none of one without a key; the pod's last ones come when it ends
Parquet (slow)                the same in a table, from the image that has pyarrow
no store there (slow)         the service answers all the same, and ends in time; the log says why nothing is written
"""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e import models
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, eventually
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.runtime.collected import records_of

pytestmark = pytest.mark.e2e

REQUESTS = 20


def collecting(namespace: Namespace, spec: dict, name: str, **settings: Any) -> IngressClient:
    """A client of a service that collects below s3://models/<namespace>/, and answers already."""
    uri = f"s3://models/{namespace.name}/"
    collection = {"uri": uri, "credentials": {"secretName": "model-store"}, **settings}
    namespace.deploy(name, namespace.published({**spec, "dataCollection": collection}))
    client = namespace.client(name)
    eventually_answered(client, FLOWERS)
    return client


def asked(client: IngressClient) -> dict[str, Any]:
    """Score with ids of our own, once without a key; what was answered by the id."""
    ids = [f"asked-{number}" for number in range(REQUESTS)]
    answers = {one: client.score(FLOWERS, headers={"x-request-id": one}) for one in ids}
    assert {answer.status for answer in answers.values()} == {200}
    refused = {"x-request-id": "asked-without", "Authorization": "Bearer wrong"}
    assert client.score(FLOWERS, headers=refused).status == 401
    return {one: answer.body for one, answer in answers.items()}


def ended(namespace: Namespace, name: str) -> dict[str, bytes]:
    """Delete the service; what its pods have written, by the object's key."""
    namespace.run("delete", "scoringservice", name)
    gone = ["wait", "--for=delete", "pod", "-l", f"scoring.dev/service={name}", "--timeout=120s"]
    namespace.run(*gone)
    return models.stored(namespace.kubectl, "models", f"{namespace.name}/")


def assert_told(written: dict[str, bytes], answers: dict[str, Any]) -> None:
    """Each request with an id of ours is there once, with what it asked and was answered."""
    records = [record for key, content in written.items() for record in records_of(key, content)]
    ours = {record["requestId"]: record for record in records if record["requestId"].startswith("asked-")}
    assert len(ours) == sum(record["requestId"].startswith("asked-") for record in records)
    assert {one: (record["request"], record["response"]) for one, record in ours.items()} == {
        one: ({"data": FLOWERS}, answer) for one, answer in answers.items()
    }
    assert {(record["path"], record["protocol"], record["status"]) for record in ours.values()} == {
        ("/score", "azure", 200)
    }


def test_json_lines(namespace: Namespace, iris: dict) -> None:
    client = collecting(namespace, iris, "collecting")
    answers = asked(client)
    pod = namespace.get("pods", "-l", "scoring.dev/service=collecting")["items"][0]["metadata"]["name"]
    written = ended(namespace, "collecting")
    assert all(key.startswith(f"{namespace.name}/date=") and f"/{pod}-" in key for key in written)
    assert_told(written, answers)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_parquet(namespace: Namespace, iris: dict, model_files: dict[str, Path], tmp_path: Path) -> None:
    import joblib

    pipeline = joblib.load(model_files["iris"] / "model.joblib")
    models.upload(namespace.kubectl, models.saved_by_mlflow(pipeline, tmp_path / "mlflow"), "s3://models/mlflow/")
    model = {**iris["model"], "uri": "s3://models/mlflow/", "framework": "mlflow"}
    resources = {**iris["resources"], "limits": {"memory": "1Gi"}}
    spec = {**iris, "model": model, "resources": resources}
    client = collecting(namespace, spec, "collecting", format="parquet")
    answers = asked(client)
    written = ended(namespace, "collecting")
    assert all(key.endswith(".parquet") for key in written)
    assert_told(written, answers)


@pytest.mark.slow
def test_nobody_waits_for_a_store_that_is_not_there(namespace: Namespace, iris: dict) -> None:
    elsewhere = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    literals = [f"--from-literal={name}={value}" for name, value in elsewhere.items()]
    namespace.run("create", "secret", "generic", "no-store", *literals)
    client = collecting(namespace, iris, "collecting", credentials={"secretName": "no-store"})
    asked(client)

    def told() -> bool:
        log = namespace.run("logs", "-l", "scoring.dev/service=collecting", "--tail=-1").stdout
        return "collected data cannot be written, and is tried again" in log

    eventually(told, what="the log says that nothing can be written")
    assert client.score(FLOWERS).status == 200
    assert ended(namespace, "collecting") == {}
