"""No credential reaches the log, whoever writes the line.

case                                            expected
headers, tokens, URLs, in any library's words   the value is hidden, the line is JSON still
the keys in force, old ones, odd characters     hidden wherever they are
secrets of the environment                      hidden
ordinary lines                                  left as they are
an exception nobody catches                     its type and place, not its message
a real server that is sent keys everywhere      none of them in its log
"""

import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_runtime import logs
from scoring_runtime.auth import KeyFiles
from scoring_runtime.logs import AccessLog, JsonFormatter
from scoring_runtime.scrub import Scrubber, secrets_of
from tests.waiting import until

TOKEN = jwt.encode({"iss": "https://i", "sub": "alice"}, "k" * 32, "HS256")


def line(logger: str, message: str, *args: object, scrubber: Scrubber | None = None, **extra: Any) -> str:
    record = logging.getLogger(logger).makeRecord(logger, logging.WARNING, "f.py", 1, message, args, None)
    vars(record).update(extra)
    text = JsonFormatter(scrubber or Scrubber()).format(record)
    assert json.loads(text)["logger"] == logger
    return text


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("Authorization: Bearer S3CRETvalue", ()),
        ("sending %s", ({"Authorization": "Bearer S3CRETvalue", "Host": "x"},)),
        ("sending %s", ({b"authorization": b"Basic S3CRETvalue"},)),
        ("headers %r", ([("authorization", "S3CRETvalue"), ("host", "x")],)),
        ('header {"Authorization": "Token S3CRETvalue"}', ()),
        ("bearer S3CRETvalue was refused", ()),
        ("BEARER   S3CRETvalue", ()),
        ("X-Api-Key: S3CRETvalue", ()),
        ("api_key=S3CRETvalue", ()),
        ("Cookie: session=S3CRETvalue", ()),
        ("Set-Cookie: S3CRETvalue; Path=/", ()),
        ("x-auth-token = S3CRETvalue", ()),
        ("X-Amz-Security-Token: S3CRETvalue", ()),
        ('"GET /keys?X-Amz-Signature=S3CRETvalue&x=1 HTTP/1.1" 200', ()),
        ("http://user:S3CRETvalue@host/path", ()),
        ("https://S3CRETvalue@host/path", ()),
        ("https://host/blob?sv=1&sig=S3CRETvalue", ()),
        ("AWS4-HMAC-SHA256 Credential=AKIAX/2026, SignedHeaders=host, Signature=S3CRETvalue", ()),
        ("Authorization: AWS4-HMAC-SHA256 Credential=S3CRETvalue/2026, Signature=S3CRETvalue", ()),
        ('{"client_secret": "S3CRETvalue", "access_token": "S3CRETvalue"}', ()),
        ("password='S3CRETvalue'", ()),
        ("401 for https://h/x?code=S3CRETvalue", ()),
        ("bad: AccountName=demo;AccountKey=S3CRETvalue==;EndpointSuffix=core.windows.net", ()),
        ('{"private_key": "-----BEGIN PRIVATE KEY-----\\nS3CRETvalue\\n-----END PRIVATE KEY-----"}', ()),
    ],
)
def test_forms_of_credentials(message: str, args: tuple[object, ...]) -> None:
    text = line("urllib3.connectionpool", message, *args)
    assert "S3CRET" not in text
    assert "[hidden]" in text


def test_tokens_are_known_by_their_form() -> None:
    for message in (TOKEN, f"<{TOKEN}>", f"x={TOKEN},", f"https://h/{TOKEN}/y", f"token was {TOKEN!r}"):
        text = line("granian", message)
        assert not any(part in text for part in TOKEN.split("."))


def test_extra_fields_are_scrubbed() -> None:
    headers, url = {"authorization": f"Bearer {TOKEN}"}, f"http://h/?token={TOKEN}"
    text = line("x", "failed", headers=headers, url=url, error=ValueError(TOKEN))
    assert TOKEN[:20] not in text


@pytest.mark.parametrize(
    "message",
    [
        "the model is ready",
        "listening on 0.0.0.0:8080",
        "fetched s3://models/iris/3/ in 2 s",
        "fetched abfs://models@demo.dfs.core.windows.net/iris/3/ in 2 s",
        "cannot fetch the keys of the tokens' issuer; the known keys stay in force: https://i/keys answers 503",
        "model.joblib was saved by scikit-learn 1.5.0, and this is 1.9.0",
        'Bearer realm="scoring"',
    ],
)
def test_ordinary_lines_are_left_alone(message: str) -> None:
    assert json.loads(line("x", message))["message"] == message


@given(st.text(min_size=6, max_size=30), st.text(max_size=20))
def test_known_secrets_of_any_characters(secret: str, around: str) -> None:
    scrubber = Scrubber([secret])
    text = line("x", "%s%s%s", around, secret, around, scrubber=scrubber)
    assert secret not in json.loads(text)["message"] or secret in "[hidden]" or secret in around + "[hidden]" + around


def test_the_keys_in_force_and_those_before(tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("plain-old-key")
    (tmp_path / "secondary").write_text('with "quotes"\\')
    now = [0.0]
    keys = KeyFiles(tmp_path, lambda: now[0])
    scrubber = Scrubber()
    scrubber.add(keys.secrets)
    assert "plain-old-key" not in line("x", "got plain-old-key", scrubber=scrubber)
    (tmp_path / "primary").write_text("plain-new-key")
    now[0] = 2
    keys.check("Bearer plain-new-key")
    text = line("x", "%s, then %s; %s", "plain-old-key", "plain-new-key", 'with "quotes"\\', scrubber=scrubber)
    assert json.loads(text)["message"] == "[hidden], then [hidden]; [hidden]"


def test_secrets_of_the_environment() -> None:
    environment = {
        "HTTP_BEARER_TOKEN": "bearer-s3cret",
        "AWS_SECRET_ACCESS_KEY": "aws-s3cret",
        "AZURE_STORAGE_ACCOUNT_KEY": "azure-s3cret",
        "HF_TOKEN": "hf_s3cret",
        "MLFLOW_TRACKING_PASSWORD": "mlflow-s3cret",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=otlp-s3cret, y=other-s3cret",
        "DOCKER_AUTH_CONFIG": '{"auths": {"r": {"auth": "cmVhZGVyOm9jaS1zM2NyZXQ=", "password": "other-oci-s3cret"}}}',
        "PATH": "/usr/bin",
    }
    text = line("opentelemetry", "Header format invalid: %s", " ".join([*environment.values(), "oci-s3cret"]),
                scrubber=Scrubber(secrets_of(environment)))  # fmt: skip
    assert "s3cret" not in text
    assert "/usr/bin" in text


def test_the_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_scrubber", Scrubber(["the-key-in-force"]))
    lines: list[bytes] = []
    log = AccessLog(write=lines.append)
    log.request({"requestId": "the-key-in-force", "path": "/score"})
    log.close()
    log = AccessLog(write=lines.append)
    log.request({"requestId": TOKEN, "path": f"/{TOKEN}", "status": 404})
    log.request({"requestId": "r", "path": "/Bearer abcdefg", "status": 404})
    log.close()
    text = b"".join(lines).decode()
    assert [json.loads(each)["path"] for each in text.splitlines()] == ["/score", "/[hidden]", "/Bearer [hidden]"]
    assert TOKEN not in text
    assert "the-key-in-force" not in text


def test_what_nobody_catches(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for hook in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure("info")
    logs.catch_uncaught()

    def fail() -> None:
        raise ValueError("payload S3CRET")

    try:
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        try:
            fail()
        except ValueError as error:
            sys.excepthook(ValueError, error, error.__traceback__)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
    written = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert [each["message"] for each in written] == [
        "ValueError was not caught in worker", "ValueError was not caught in the main thread"
    ]  # fmt: skip
    assert "test_secrets.py:" in written[0]["frames"][-1]
    assert "S3CRET" not in str(written)


def test_a_server_that_is_sent_keys_everywhere(start_server: Any, iris_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "primary").write_text("a-key-in-force")
    server = start_server(iris_folder, auth="key", keys_dir=tmp_path, log_level="debug").wait_ready()
    flower = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'
    assert server.request("POST", "/score", flower, Authorization="Bearer a-key-in-force")[0] == 200
    assert server.request("POST", "/score", flower, Authorization=f"Bearer {TOKEN}")[0] == 401
    server.request("POST", "/score?key=a-key-in-force", flower, Authorization="Basic a-key-in-force")
    server.request("GET", f"/a-key-in-force/{TOKEN}?token={TOKEN}")
    server.request("POST", "/score", b'{"data": [["a-key-in-force", 1, 2, 3]]}', Authorization="Bearer a-key-in-force")
    server.request("GET", "/healthz", x_request_id="a-key-in-force", Cookie=f"session={TOKEN}")
    server.request("GET", "/healthz", x_request_id="the-last")
    until(lambda: "the-last" in server.log.read_text())
    text = server.log.read_text()
    assert len([record for record in server.records() if record["logger"] == "access"]) >= 7
    assert "a-key-in-force" not in text
    assert TOKEN[:12] not in text
    assert TOKEN[-12:] not in text
