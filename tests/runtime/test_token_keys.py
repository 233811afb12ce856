"""An issuer's keys by address: a real HTTP server that changes its keys, goes away, and answers nonsense.

case                                       expected
the issuer answers                         its tokens are accepted
it does not answer at the start            503 until it does; asked again and again
it has a new key                           a token of that key is accepted at once, without waiting for the next round
tokens of unknown keys, many of them       the issuer is asked once, then not for a while
it goes away, or answers nonsense          the known keys stay in force
it withdraws a key                         refused from then on, though verified before
too much, too slow, a redirect, an error   refused, with the reason
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scoring_runtime.auth import download
from scoring_runtime.auth.download import KeySetAddress
from scoring_runtime.auth.sources import FetchedKeys
from scoring_runtime.auth.tokens import Tokens
from scoring_runtime.errors import NotReady, RequestError, Unauthorized
from scoring_runtime.settings import Settings
from tests.waiting import PATIENCE, until

SETTINGS = Settings(auth="token", token_issuer="https://i", token_audience=("a",))
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("one", "two")}
Answer = Callable[[BaseHTTPRequestHandler], None]


def key_set(*names: str) -> bytes:
    algorithm = jwt.get_algorithm_by_name("ES256")
    keys = [algorithm.to_jwk(KEYS[name].public_key(), as_dict=True) | {"kid": name} for name in names]
    return json.dumps({"keys": keys}).encode()


def token(name: str, **headers: Any) -> str:
    claims = {"iss": "https://i", "aud": "a", "exp": time.time() + 60}
    return "Bearer " + jwt.encode(claims, KEYS[name], "ES256", {"kid": name, **headers})


def says(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(header, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class Issuer:
    """A server with one answer, which may be changed; `asked` counts."""

    def __init__(self) -> None:
        self.answer: Answer = says(key_set("one"))
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                with contextlib.suppress(OSError):
                    issuer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = KeySetAddress(f"http://127.0.0.1:{self._server.server_port}/keys?secret=s3cret")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.keys: list[FetchedKeys] = []

    def close(self) -> None:
        for keys in self.keys:
            keys.stop()
        self.stop_listening()

    def stop_listening(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


def gate_for(issuer: Issuer, refresh: float = 300, unknown_key: float = 0) -> Tokens:
    keys = FetchedKeys(issuer.address.fetch, refresh, unknown_key)
    issuer.keys.append(keys)
    gate = Tokens(SETTINGS, keys)
    gate.start()
    return gate


def accepts(gate: Tokens, header: str) -> bool:
    try:
        gate.check(header)
    except (Unauthorized, NotReady):
        return False
    return True


def test_the_issuer_answers(issuer: Issuer) -> None:
    gate = gate_for(issuer)
    gate.wait()
    assert accepts(gate, token("one"))
    assert not accepts(gate, token("two"))
    for _ in range(20):
        assert accepts(gate, token("one"))
    assert issuer.asked == 2


def test_before_the_first_answer_it_cannot_tell(issuer: Issuer) -> None:
    go = threading.Event()

    def late(handler: BaseHTTPRequestHandler) -> None:
        go.wait(PATIENCE)
        says(key_set("one"))(handler)

    issuer.answer = late
    gate = gate_for(issuer)
    with pytest.raises(NotReady) as raised:
        gate.check(token("one"))
    assert dict(raised.value.headers)["Retry-After"] == "1"
    waiting = threading.Thread(target=gate.wait)
    waiting.start()
    assert waiting.is_alive()
    go.set()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    assert accepts(gate, token("one"))


def test_an_issuer_that_is_down_at_the_start_is_asked_again(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("scoring_runtime.auth.sources._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("scoring_runtime.auth.sources._LONGEST_PAUSE", 0.02)
    issuer.answer = says(b"no", 503)
    gate = gate_for(issuer)
    while issuer.asked < 3:
        time.sleep(0.005)
    assert not accepts(gate, token("one"))
    issuer.answer = says(key_set("one"))
    gate.wait()
    assert accepts(gate, token("one"))
    assert "no token can be verified before: http://127.0.0.1:" in caplog.text
    assert "answers 503" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_new_key_counts_with_its_first_token(issuer: Issuer) -> None:
    gate = gate_for(issuer)
    gate.wait()
    issuer.answer = says(key_set("one", "two"))
    assert accepts(gate, token("two"))
    assert accepts(gate, token("one"))


def test_unknown_keys_do_not_flood_the_issuer(issuer: Issuer) -> None:
    gate = gate_for(issuer, unknown_key=60)
    gate.wait()
    for number in range(50):
        assert not accepts(gate, token("two", kid=f"unknown {number}"))
    assert issuer.asked == 1


def test_many_waiters_share_one_fetch(issuer: Issuer) -> None:
    """More requests than may wait: the rest is told at once, and the issuer is asked once."""
    gate = gate_for(issuer)
    gate.wait()
    go = threading.Event()

    def late(handler: BaseHTTPRequestHandler) -> None:
        go.wait(PATIENCE)
        says(key_set("one", "two"))(handler)

    issuer.answer = late
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(accepts(gate, token("two")))) for _ in range(40)]
    for thread in threads:
        thread.start()
    while len(results) < 24:
        time.sleep(0.005)
    go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (results.count(True), results.count(False)) == (16, 24)
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "answer", [says(b"", 500), says(b"<html>"), says(b'{"keys": []}'), says(b'{"keys": [{"kty": "oct", "k": "eA"}]}'),
               says(b"[" * 100_000)], ids=["500", "html", "empty", "symmetric", "deep"]
)  # fmt: skip
def test_the_known_keys_outlive_a_bad_answer(issuer: Issuer, answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    gate = gate_for(issuer)
    gate.wait()
    issuer.answer = answer
    assert not accepts(gate, token("two"))
    assert issuer.asked == 2
    assert accepts(gate, token("one"))
    assert "the known keys stay in force" in caplog.text


def test_the_known_keys_outlive_the_issuer(issuer: Issuer) -> None:
    gate = gate_for(issuer)
    gate.wait()
    issuer.stop_listening()
    assert not accepts(gate, token("two"))
    assert accepts(gate, token("one"))


def test_a_withdrawn_key_is_forgotten_with_what_it_signed(issuer: Issuer) -> None:
    gate = gate_for(issuer)
    gate.wait()
    old = token("one")
    assert accepts(gate, old)
    issuer.answer = says(key_set("two"))
    assert accepts(gate, token("two"))
    assert not accepts(gate, old)


def test_keys_are_asked_for_again_by_themselves(issuer: Issuer) -> None:
    gate = gate_for(issuer, refresh=0.02, unknown_key=60)
    gate.wait()
    issuer.answer = says(key_set("two"))
    until(lambda: accepts(gate, token("two")))


def test_no_redirect_is_followed(issuer: Issuer) -> None:
    other = Issuer()
    issuer.answer = says(b"", 302, Location=f"{other.address.shown}")
    with pytest.raises(OSError, match="answers 302"):
        issuer.address.fetch()
    assert other.asked == 0
    other.close()


def test_too_much(issuer: Issuer) -> None:
    issuer.answer = says(b" " * 300_000)
    with pytest.raises(ValueError, match=r"/keys sends more than 262144 bytes"):
        issuer.address.fetch()


def test_too_slow(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither silence nor a byte now and then holds the thread."""
    monkeypatch.setattr(download, "STEP_SECONDS", 0.05)
    monkeypatch.setattr(download, "TOTAL_SECONDS", 0.2)
    stop = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        stop.wait(PATIENCE)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.01):
            handler.wfile.write(b" ")

    for issuer.answer in (silent, dripping):
        with pytest.raises(OSError, match=r"slow|timed out"):
            issuer.address.fetch()
    stop.set()


def test_what_is_no_http(issuer: Issuer) -> None:
    issuer.answer = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")  # type: ignore[assignment,return-value]
    with pytest.raises(OSError, match="does not speak HTTP"):
        issuer.address.fetch()


def test_nobody_there(issuer: Issuer) -> None:
    issuer.stop_listening()
    with pytest.raises(OSError, match="refused") as raised:
        issuer.address.fetch()
    assert "s3cret" not in str(raised.value)


def test_an_error_of_any_other_kind_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise KeyError("s3cret")

    keys = FetchedKeys(broken)
    keys.start()
    while "KeyError" not in caplog.text:
        time.sleep(0.005)
    assert "s3cret" not in caplog.text
    keys.stop()
    with pytest.raises(RequestError):
        keys.ring()
