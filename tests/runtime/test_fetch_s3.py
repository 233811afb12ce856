"""s3:// addresses, against a real S3 server (moto) on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from scoring_runtime.fetch import s3
from tests.runtime.conftest import S3_WARNINGS
from tests.runtime.fetching import failure, run, set_environment

pytestmark = S3_WARNINGS


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A new bucket named models, and the environment that reaches it."""
    values = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "the-key-of-a-user",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    set_environment(monkeypatch, values)
    made = boto3.resource("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket="models")
    yield made
    made.objects.all().delete()
    made.delete()


def test_an_object(bucket: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    bucket.put_object(Key="iris/3/model.joblib", Body=content)
    digest = hashlib.sha256(content).hexdigest()
    assert run("s3://models/iris/3/model.joblib", tmp_path, model_sha256=digest) == {"model.joblib": content}


def test_an_object_of_many_ranges(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BLOCK_BYTES", 1000)
    content = bytes(range(251)) * 40
    bucket.put_object(Key="model.joblib", Body=content)
    assert run("s3://models/model.joblib", tmp_path) == {"model.joblib": content}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_prefix(bucket: Any, tmp_path: Path, slash: str) -> None:
    for key in ("faq/8/model.joblib", "faq/8/data/words.txt", "faq/8/data/", "faq/88/other", "faq/8x"):
        bucket.put_object(Key=key, Body=key.encode())
    found = run(f"s3://models/faq/8{slash}", tmp_path)
    assert found == {"model.joblib": b"faq/8/model.joblib", "data/words.txt": b"faq/8/data/words.txt"}


def test_an_empty_object(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="a/empty", Body=b"")
    assert run("s3://models/a/", tmp_path) == {"empty": b""}


def test_keys_that_are_one_path(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="a/b/c", Body=b"x")
    bucket.put_object(Key="a/b//c", Body=b"y")
    reason, message = failure("s3://models/a/", tmp_path)
    assert (reason, "b/c twice" in message) == ("ArchiveUnsafe", True)


def test_keys_that_lead_out_of_the_folder(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="a/../../evil", Body=b"x")
    assert failure("s3://models/a/", tmp_path / "to")[0] == "ArchiveUnsafe"
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("uri", ["s3://models/no", "s3://models/no/", "s3://nobucket/a"])
def test_nothing_there(bucket: Any, tmp_path: Path, uri: str) -> None:
    reason, message = failure(uri, tmp_path)
    assert (reason, f"404 on {uri}" in message) == ("ModelNotFound", True), message


def test_connection_refused(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    reason, message = failure("s3://models/a", tmp_path)
    assert (reason, "http://127.0.0.1:9" in message) == ("ModelSourceUnavailable", True), message


def test_wrong_credentials(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="faq/8/model.joblib", Body=b"x")
    with access_control(bucket):
        reason, message = failure("s3://models/faq/8/", tmp_path)
    assert (reason, message.startswith("403 on s3://models/faq/8/; the credentials")) == ("ModelAccessDenied", True), (
        message
    )


def test_no_credentials(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    bucket.put_object(Key="model.joblib", Body=b"public")
    bucket.Acl().put(ACL="public-read")
    bucket.Object("model.joblib").Acl().put(ACL="public-read")
    bucket.put_object(Key="private.joblib", Body=b"private", ACL="private")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert run("s3://models/model.joblib", tmp_path / "a") == {"model.joblib": b"public"}
    reason, message = failure("s3://models/private.joblib", tmp_path / "b")
    assert (reason, "there are no credentials" in message) == ("ModelAccessDenied", True), message


@contextmanager
def access_control(bucket: Any) -> Iterator[None]:
    """Switch moto's access control on: from now on it knows no key."""
    host = urlsplit(bucket.meta.client.meta.endpoint_url).netloc

    def allow(requests: str) -> None:
        connection = HTTPConnection(host)
        connection.request("POST", "/moto-api/reset-auth", requests, {"Content-Type": "text/plain"})
        assert connection.getresponse().status == 200
        connection.close()

    allow("0")
    try:
        yield
    finally:
        allow("inf")


def test_one_process_can_fetch_from_two_threads(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="model.joblib", Body=b"x")
    threads = [threading.Thread(target=run, args=("s3://models/model.joblib", tmp_path / str(n))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / str(n) / "model.joblib").read_bytes() for n in range(2)] == [b"x", b"x"]
