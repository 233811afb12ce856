"""http:// addresses, against a real server on this machine that can misbehave.

case                                            expected
a file, an archive                              checked as a whole, then placed or unpacked
a transfer that breaks                          goes on where it broke; anew where that is not possible
refusals, nobody there                          their reasons; asked again only where that may help
a redirect                                      followed without the token; never to anything but http and https
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runtime.fetching import AT_ONCE, failure, run, set_environment
from tests.runtime.gate import Answer, Asked, Gate, gate_before

CONTENT = bytes(range(256)) * 20_000
STATUSES = {"/missing.joblib": 404, "/secret.joblib": 403, "/login.joblib": 401, "/broken.joblib": 500}


@dataclass
class Site:
    """One file at every path but those of STATUSES; /elsewhere sends to another address."""

    content: bytes = CONTENT
    ranges: bool = True
    changes: bool = False
    """Whether the content gets another entity tag with each answer."""
    elsewhere: str = ""
    _answers: int = 0

    def answer(self, asked: Asked) -> Answer:
        if asked.path in STATUSES:
            return Answer(STATUSES[asked.path])
        if asked.path.startswith("/elsewhere"):
            return Answer(302, headers={"Location": self.elsewhere})
        self._answers += 1
        headers = {"ETag": f'"{self._answers if self.changes else 0}"'}
        if self.ranges and asked.headers.get("if-range") == headers["ETag"]:
            headers["x-ranges"] = ""
        return Answer(200, self.content, headers)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def gate(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    set_environment(monkeypatch, {})
    monkeypatch.delenv("HTTP_BEARER_TOKEN", raising=False)
    with gate_before(site) as gate:
        yield gate


def test_a_file(gate: Gate, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert run(f"{gate.base}/models/model.joblib?version=3", tmp_path, model_sha256=digest) == {"model.joblib": CONTENT}


def test_an_archive_is_checked_as_a_whole_and_unpacked(gate: Gate, site: Site, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("iris/model.joblib")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"model"))
    site.content = packed.getvalue()
    digest = hashlib.sha256(site.content).hexdigest()
    assert run(f"{gate.base}/iris.tar.gz", tmp_path, model_sha256=digest) == {"model.joblib": b"model"}


def test_a_broken_transfer_goes_on_where_it_broke(gate: Gate, tmp_path: Path) -> None:
    # Of the first answer only the head is read.
    gate.breaks = 3
    assert run(f"{gate.base}/model.joblib", tmp_path) == {"model.joblib": CONTENT}
    _, whole, *rest = [asked.start for asked in gate.asked]
    assert len(rest) == 2
    assert whole == 0 < rest[0] < rest[1] < len(CONTENT)


@pytest.mark.parametrize(("ranges", "changes"), [(False, False), (True, True)])
def test_it_starts_again_where_it_cannot_go_on(
    gate: Gate, site: Site, tmp_path: Path, ranges: bool, changes: bool
) -> None:
    site.ranges, site.changes, gate.breaks = ranges, changes, 2
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert run(f"{gate.base}/model.joblib", tmp_path, model_sha256=digest) == {"model.joblib": CONTENT}
    assert any(asked.start > 0 for asked in gate.asked)


def test_a_server_that_is_down_for_a_moment(gate: Gate, tmp_path: Path) -> None:
    gate.failures = 3
    assert run(f"{gate.base}/model.joblib", tmp_path) == {"model.joblib": CONTENT}


@pytest.mark.parametrize(
    ("path", "reason", "said"),
    [
        ("/missing.joblib", "ModelNotFound", "404 on {address}; there is no such file"),
        ("/secret.joblib", "ModelAccessDenied", "403 on {address}; put a token for it in HTTP_BEARER_TOKEN"),
        ("/login.joblib", "ModelAccessDenied", "401 on {address}; put a token"),
        ("/broken.joblib", "ModelSourceUnavailable", "500 on {address}"),
    ],
)
def test_refusals(gate: Gate, tmp_path: Path, path: str, reason: str, said: str) -> None:
    found = failure(gate.base + path, tmp_path)
    assert (found.reason, found.message.startswith(said.format(address=gate.base + path))) == (reason, True), found
    assert len(gate.asked) == (AT_ONCE.attempts if reason == "ModelSourceUnavailable" else 1)


def test_connection_refused(gate: Gate, tmp_path: Path) -> None:
    assert failure("http://127.0.0.1:9/model.joblib", tmp_path) == (
        "ModelSourceUnavailable",
        "http://127.0.0.1:9/model.joblib does not answer: Connection refused",
    )


def test_no_such_host(gate: Gate, tmp_path: Path) -> None:
    found = failure("http://host.invalid/model.joblib", tmp_path)
    assert (found.reason, "host.invalid" in found.message) == ("ModelSourceUnavailable", True)


def test_the_token_goes_to_the_address_and_not_to_another(
    gate: Gate, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_BEARER_TOKEN", "the-token")
    site.elsewhere = f"{gate.base.replace('127.0.0.1', 'localhost')}/model.joblib"
    run(f"{gate.base}/elsewhere.joblib", tmp_path)
    sent = {asked.path: asked.headers.get("authorization") for asked in gate.asked}
    assert sent == {"/elsewhere.joblib": "Bearer the-token", "/model.joblib": None}
    assert "the token is not accepted" in failure(f"{gate.base}/secret.joblib", tmp_path / "other").message


@pytest.mark.parametrize("elsewhere", ["ftp://127.0.0.1:9/model.joblib", "file:///etc/passwd", "data:,x"])
def test_redirects_to_what_is_no_web_server(gate: Gate, site: Site, tmp_path: Path, elsewhere: str) -> None:
    site.elsewhere = elsewhere
    found = failure(f"{gate.base}/elsewhere.joblib", tmp_path)
    assert found.reason == "ModelSourceUnavailable"
    assert ("refused" if elsewhere.startswith("ftp:") else "302 on") in found.message
