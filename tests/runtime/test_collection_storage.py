"""Where collected data goes: a real S3 server (moto), files, and addresses that cannot be written to.

case                                   expected
s3://, keys by environment or files    objects below the prefix
new keys in the mounted Secret         used at the next try, without a restart
an address nothing can be written to   an error at the start that says what to write
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from scoring_runtime.collection.collector import Limits
from scoring_runtime.collection.sample import BODY
from scoring_runtime.collection.start import start_collection
from scoring_runtime.collection.storage import Folder
from scoring_runtime.errors import FrameworkMissing, SettingsInvalid
from scoring_runtime.replies import json_reply
from scoring_runtime.settings import Settings
from tests.runtime.collected import FORMS, records_of
from tests.runtime.conftest import S3_WARNINGS
from tests.waiting import PATIENCE, until

pytestmark = S3_WARNINGS
ACCESS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret-of-the-sink", "AWS_REGION": "us-east-1"}


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A new bucket named logs; the environment knows no credentials for it."""
    for name in (*ACCESS, "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    made = boto3.resource("s3", endpoint_url=s3_endpoint, **access).create_bucket(Bucket="logs")
    yield made
    made.objects.all().delete()
    made.delete()


def secret(folder: Path, **entries: str) -> Path:
    """What a mounted Secret looks like: its entries are links into a folder whose name begins with dots."""
    data = folder / "..data"
    data.mkdir(parents=True, exist_ok=True)
    for name, value in entries.items():
        (data / name).write_text(f"{value}\n")
        if not (folder / name).exists():
            (folder / name).symlink_to(data / name)
    return folder


def collected(settings: dict[str, Any], count: int = 3) -> Any:
    values = {"framework": "sklearn", "data_collection_uri": "s3://logs/faq/", **settings}
    collector = start_collection(Settings.model_validate(values), Limits(object_seconds=0, first_pause=0.01))
    for number in range(count):
        environ: Any = {"PATH_INFO": "/score"}
        collector.begin(environ)
        environ[BODY].append(b"{}")
        collector.answered(environ, json_reply(b"[0]"), 0.01, str(number))
    return collector


def records(bucket: Any) -> list[dict[str, Any]]:
    objects = [(item.key, item.get()["Body"].read()) for item in sorted(bucket.objects.all(), key=lambda one: one.key)]
    return [record for name, content in objects for record in records_of(name, content)]


@pytest.mark.parametrize("form", FORMS)
def test_s3_with_a_secret(bucket: Any, s3_endpoint: str, tmp_path: Path, form: str) -> None:
    directory = secret(tmp_path / "secret", **ACCESS, AWS_ENDPOINT_URL=s3_endpoint)
    collector = collected({"data_collection_credentials_dir": directory, "data_collection_format": form})
    collector.close(PATIENCE)
    assert (collector.written, collector.failures) == (3, 0)
    assert [record["requestId"] for record in records(bucket)] == ["0", "1", "2"]
    assert all(item.key.startswith("faq/date=20") and item.key.endswith(f".{form}") for item in bucket.objects.all())


def test_s3_with_the_environment(bucket: Any, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ACCESS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    collector = collected({})
    collector.close(PATIENCE)
    assert len(records(bucket)) == 3


def test_a_secret_that_comes_later_is_used(bucket: Any, s3_endpoint: str, tmp_path: Path) -> None:
    directory = secret(tmp_path / "secret", AWS_ENDPOINT_URL="http://127.0.0.1:9", **ACCESS)
    collector = collected({"data_collection_credentials_dir": directory})
    until(lambda: collector.failures)
    secret(directory, AWS_ENDPOINT_URL=s3_endpoint)
    until(lambda: collector.written == 3)
    assert collector.dropped["full"] == 0
    collector.close(PATIENCE)


def test_the_secret_is_kept_out_of_logs(bucket: Any, s3_endpoint: str, tmp_path: Path) -> None:
    directory = secret(tmp_path / "secret", **ACCESS, AWS_ENDPOINT_URL=s3_endpoint)
    folder = Folder("s3://logs/faq/", directory)
    folder.write("a.jsonl", b"{}\n")
    assert folder.secrets() == ("secret-of-the-sink",)


def test_files(tmp_path: Path) -> None:
    folder = Folder(f"file://{tmp_path}/logs/")
    folder.write("date=2026-01-01/a.jsonl", b"{}\n")
    assert (tmp_path / "logs/date=2026-01-01/a.jsonl").read_bytes() == b"{}\n"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("logs/faq", "must be the address of a folder"),
        ("s3://", "must be the address of a folder"),
        ("s3:///", "must be the address of a folder"),
        ("https://example.com/logs/", "nothing can be written to https://"),
        ("s4://logs/faq/", "s4:// is not known"),
        ("s3://id:secret@logs/faq/", "must not hold a user"),
        ("s3://logs/faq/?versionId=1", "must not hold a user"),
        ("simplecache::s3://logs/faq/", "must be the address of a folder"),
    ],
)
def test_addresses_that_cannot_be(uri: str, says: str) -> None:
    with pytest.raises(SettingsInvalid, match="SCORING_DATA_COLLECTION_URI") as raised:
        Folder(uri)
    assert says in raised.value.message
    assert "secret" not in raised.value.message


def test_a_package_that_the_image_lacks() -> None:
    with pytest.raises(FrameworkMissing, match="gs:// addresses need a Python package"):
        Folder("gs://logs/faq/")
