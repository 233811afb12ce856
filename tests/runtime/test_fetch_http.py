"""http:// addresses, against a real server on this machine that can misbehave."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.errors import StartupError
from scoring_runtime.fetch import fetch
from scoring_runtime.fetch.download import Retries
from scoring_runtime.settings import Settings

AT_ONCE = Retries(attempts=4, first_pause_seconds=0)
CONTENT = bytes(range(256)) * 20_000


@dataclass
class Site:
    """What the server does, and what it was asked."""

    base: str = ""
    content: bytes = CONTENT
    breaks: int = 0
    """How many answers break off in the middle."""
    ranges: bool = True
    failures: int = 0
    """How many answers are 503."""
    changes: bool = False
    """The content gets another entity tag with each answer."""
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, Range and Authorization of each request."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append((self.path, self.headers["Range"], self.headers["Authorization"]))
        # The next request comes in another thread, while this one still answers.
        number = len(site.asked)
        status = {"/missing.joblib": 404, "/secret.joblib": 403, "/login.joblib": 401, "/broken.joblib": 500}.get(
            self.path
        )
        if site.failures:
            site.failures -= 1
            status = 503
        if status is not None:
            self.send_error(status)
        elif self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", f"{site.base.replace('127.0.0.1', 'localhost')}/model.joblib")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._content(site, number)

    def _content(self, site: Site, number: int) -> None:
        tag = f'"{number if site.changes else 0}"'
        start = 0
        asked = self.headers["Range"]
        if asked and site.ranges and self.headers["If-Range"] == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        else:
            self.send_response(200)
        body = site.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        if site.breaks and number > 1:
            site.breaks -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def run(site: Site, path: str, to: Path, **values: Any) -> None:
    fetch(Settings(model_uri=site.base + path, model_path=to, **values), AT_ONCE)


def failure(site: Site, path: str, to: Path) -> tuple[str, str]:
    with pytest.raises(StartupError) as raised:
        run(site, path, to)
    return raised.value.reason, raised.value.message


def test_a_file(site: Site, tmp_path: Path) -> None:
    run(site, "/models/model.joblib?version=3", tmp_path, model_sha256=hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "model.joblib").read_bytes() == CONTENT


def test_an_archive_is_checked_as_a_whole_and_unpacked(site: Site, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("iris/model.joblib")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"model"))
    site.content = packed.getvalue()
    run(site, "/iris.tar.gz", tmp_path, model_sha256=hashlib.sha256(site.content).hexdigest())
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["model.joblib"]
    assert (tmp_path / "model.joblib").read_bytes() == b"model"


def test_a_broken_transfer_goes_on_where_it_broke(site: Site, tmp_path: Path) -> None:
    site.breaks = 2
    run(site, "/model.joblib", tmp_path)
    assert (tmp_path / "model.joblib").read_bytes() == CONTENT
    ranges = [asked for _, asked, _ in site.asked]
    assert ranges[:2] == [None, None]
    starts = [int(str(asked).removeprefix("bytes=").removesuffix("-")) for asked in ranges[2:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(CONTENT)


@pytest.mark.parametrize("how", [{"ranges": False}, {"changes": True}])
def test_it_starts_again_where_it_cannot_go_on(site: Site, tmp_path: Path, how: dict) -> None:
    vars(site).update(how, breaks=1)
    run(site, "/model.joblib", tmp_path, model_sha256=hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "model.joblib").read_bytes() == CONTENT


def test_a_server_that_is_down_for_a_moment(site: Site, tmp_path: Path) -> None:
    site.failures = 3
    run(site, "/model.joblib", tmp_path)
    assert (tmp_path / "model.joblib").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "expected", "requests"),
    [
        ("/missing.joblib", ("ModelNotFound", "404 on {base}/missing.joblib"), 1),
        ("/secret.joblib", ("ModelAccessDenied", "403 on {base}/secret.joblib; put a token"), 1),
        ("/login.joblib", ("ModelAccessDenied", "401 on {base}/login.joblib"), 1),
        ("/broken.joblib", ("ModelSourceUnavailable", "500 on {base}/broken.joblib"), 4),
    ],
)
def test_refusals(site: Site, tmp_path: Path, path: str, expected: tuple[str, str], requests: int) -> None:
    reason, message = failure(site, path, tmp_path)
    assert (reason, expected[1].format(base=site.base) in message) == (expected[0], True), message
    assert len(site.asked) == requests


def test_connection_refused(site: Site, tmp_path: Path) -> None:
    site.base = "http://127.0.0.1:9"
    assert failure(site, "/model.joblib", tmp_path) == (
        "ModelSourceUnavailable",
        "http://127.0.0.1:9/model.joblib does not answer: Connection refused",
    )


def test_no_such_host(site: Site, tmp_path: Path) -> None:
    site.base = "http://host.invalid"
    reason, message = failure(site, "/model.joblib", tmp_path)
    assert (reason, "host.invalid" in message) == ("ModelSourceUnavailable", True)


def test_the_token_goes_to_the_address_and_not_to_another(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_BEARER_TOKEN", "the-token")
    run(site, "/elsewhere.joblib", tmp_path)
    sent = {path: authorization for path, _, authorization in site.asked}
    assert sent == {"/elsewhere.joblib": "Bearer the-token", "/model.joblib": None}
    assert "the token is not accepted" in failure(site, "/secret.joblib", tmp_path / "other")[1]
