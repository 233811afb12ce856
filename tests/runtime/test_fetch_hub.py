"""hf:// addresses, beside the cases of test_fetch_stores.py.

case                                            expected
a revision, with a slash in it                  its commit is fetched
a whole repository                              all files
a token                                         sent to the hub, and not to the storage that it redirects to
a damaged large file                            ModelChecksumMismatch, without a checksum in the settings
a next page elsewhere                           refused: it would get the token
something else at HF_ENDPOINT                   ModelSourceUnavailable that names HF_ENDPOINT
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.fetching import failure, run, set_environment
from tests.runtime.gate import Always, Answer, Asked, Gate, gate_before
from tests.runtime.model_stores import COMMIT, ModelHub

LARGE = bytes(range(250)) * 1000
FILES = {"config.json": b"{}", "onnx/model.onnx": LARGE}


class Hub(ModelHub):
    other_page = ""
    damaged = False

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/api/models/org/models/revision/refs%2Fpr%2F1":
            return Answer(200, json.dumps({"sha": COMMIT}).encode())
        found = super().answer(asked)
        if self.damaged and asked.path.startswith("/storage/"):
            return Answer(200, bytes(len(found.body)), found.headers)
        if self.other_page and "/tree/" in asked.path:
            return Answer(200, found.body, {"Link": f'<{self.other_page}>; rel="next"'})
        return found


@pytest.fixture
def hub() -> Hub:
    return Hub(dict(FILES))


@pytest.fixture
def gate(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gate_before(hub) as gate:
        set_environment(monkeypatch, hub.environment(gate.base) | {"HF_TOKEN": "hf_the-token"})
        yield gate


@pytest.mark.parametrize(
    ("uri", "files"),
    [
        ("hf://org/models", FILES),
        ("hf://org/models/", FILES),
        ("hf://org/models@main", FILES),
        ("hf://org/models@refs%2Fpr%2F1/onnx", {"model.onnx": LARGE}),
        ("hf://org/models@main/onnx/model.onnx", {"model.onnx": LARGE}),
    ],
)
def test_addresses(gate: Gate, tmp_path: Path, uri: str, files: dict[str, bytes]) -> None:
    assert run(uri, tmp_path) == files


@pytest.mark.parametrize("uri", ["hf://org/models@other", "hf://org/none", "hf://org/models/onn"])
def test_nothing_there(gate: Gate, tmp_path: Path, uri: str) -> None:
    found = failure(uri, tmp_path)
    assert (found.reason, f"404 on {uri}; there is no such repository" in found.message) == ("ModelNotFound", True)


def test_the_token_stays_at_the_hub(gate: Gate, tmp_path: Path) -> None:
    run("hf://org/models", tmp_path)
    sent = {asked.path: asked.headers.get("authorization") for asked in gate.asked}
    assert sent.pop("/storage/onnx/model.onnx") is None
    assert set(sent.values()) == {"Bearer hf_the-token"}


@pytest.mark.parametrize(("token", "said"), [("hf_other", "the token in HF_TOKEN"), ("", "private or gated")])
def test_refused(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, said: str) -> None:
    gate.token = "hf_the-token"
    monkeypatch.setenv("HF_TOKEN", token)
    found = failure("hf://org/models", tmp_path)
    assert (found.reason, said in found.message) == ("ModelAccessDenied", True)


def test_a_damaged_file(gate: Gate, hub: Hub, tmp_path: Path) -> None:
    hub.damaged = True
    found = failure("hf://org/models", tmp_path)
    assert (found.reason, "the sha256 of onnx/model.onnx" in found.message) == ("ModelChecksumMismatch", True)


def test_a_next_page_elsewhere(gate: Gate, hub: Hub, tmp_path: Path) -> None:
    hub.other_page = gate.base.replace("127.0.0.1", "localhost") + "/elsewhere"
    found = failure("hf://org/models", tmp_path)
    assert (found.reason, "check HF_ENDPOINT" in found.message) == ("ModelSourceUnavailable", True)
    assert not any(asked.path == "/elsewhere" for asked in gate.asked)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"sha": 1}', b'{"sha": "1"}'])
def test_something_else_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with gate_before(Always(Answer(200, body))) as gate:
        set_environment(monkeypatch, {"HF_ENDPOINT": gate.base})
        found = failure("hf://org/models", tmp_path)
    assert (found.reason, "check HF_ENDPOINT" in found.message) == ("ModelSourceUnavailable", True)
