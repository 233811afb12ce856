"""Tokens: which are accepted, and what the others are told. Real keys, real signatures.

case                                                   expected
each algorithm, with a key of its kind                 accepted
a Kubernetes service account's token                   accepted
`none`, HS256 with the public key, a borrowed kid      401
another issuer, audience, expired, not yet valid       401 that says which
claims missing or of the wrong type                    401
a subject that is not listed                           403
a damaged or endless token, another scheme             401, never an error of the server
verified once                                          remembered until it expires or the keys change
a key set without a usable key, bad settings           SettingsInvalid
"""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from scoring_runtime.auth import Authenticator, authenticator
from scoring_runtime.auth.jwks import ALGORITHMS, read_key_set
from scoring_runtime.auth.sources import FileKeys
from scoring_runtime.auth.tokens import REMEMBERED, Tokens
from scoring_runtime.errors import Forbidden, RequestError, SettingsInvalid, Unauthorized
from scoring_runtime.settings import Settings

ISSUER = "https://issuer.example.com"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
PRIVATE: dict[str, Any] = {
    "RS256": RSA_KEY,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public_jwk(private: Any, algorithm: str, **members: str) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {name: value for name, value in made.items() if name not in ("key_ops", "alg")} | members


KEYS = [public_jwk(private, algorithm, kid=f"key-{algorithm}") for algorithm, private in PRIVATE.items()]


def private_for(algorithm: str) -> tuple[Any, str]:
    name = algorithm if algorithm in PRIVATE else "RS256"
    return PRIVATE[name], f"key-{name}"


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"iss": ISSUER, "aud": "iris.default", "sub": "alice", "iat": now, "nbf": now, "exp": now + 600, **changed}
    return {name: value for name, value in made.items() if value is not None}


def signed(algorithm: str = "RS256", key: Any = None, headers: dict | None = None, **changed: Any) -> str:
    private, key_id = private_for(algorithm)
    return "Bearer " + jwt.encode(claims(**changed), key or private, algorithm, headers or {"kid": key_id})


def encoded(part: Any) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Authenticator]:
    def made(keys: list[dict] = KEYS, **values: Any) -> Authenticator:
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": keys}))
        settings = {"auth": "token", "token_issuer": ISSUER, "token_audience": "iris.default", "token_jwks": str(file)}
        return authenticator(Settings.model_validate(settings | values))

    return made


def refusal(gate: Authenticator, header: str | None, status: int = 401) -> str:
    """The message with which it is refused."""
    with pytest.raises(RequestError) as raised:
        gate.check(header)
    error = raised.value
    assert error.status == status
    challenge = dict(error.headers)["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="scoring"')
    if "error=" in challenge:
        code = "invalid_token" if status == 401 else "insufficient_scope"
        assert f'error="{code}", error_description="{error.message}"' in challenge
    assert challenge.isascii()
    assert challenge.isprintable()
    assert challenge.count('"') in (2, 6)
    return error.message


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(make: Any, algorithm: str) -> None:
    make().check(signed(algorithm))


def test_a_service_accounts_token(make: Any) -> None:
    """As `kubectl create token` makes them: RS256, a list of audiences, claims of Kubernetes' own."""
    account = {"namespace": "default", "serviceaccount": {"name": "web", "uid": "0c9d"}}
    gate = make(token_issuer=CLUSTER, token_subjects="system:serviceaccount:default:web,someone-else")
    body = {"iss": CLUSTER, "aud": ["iris.default", "other"], "kubernetes.io": account, "jti": "5f"}
    gate.check(signed(sub="system:serviceaccount:default:web", **body))
    said = refusal(gate, signed(sub="system:serviceaccount:other:web", **body), 403)
    assert said == "the token is genuine, and its subject is none of those who may score here"
    assert "other:web" not in said


def test_one_of_several_audiences_is_enough(make: Any) -> None:
    gate = make(token_audience="iris.default, https://iris.example.com")
    gate.check(signed(aud="https://iris.example.com"))
    gate.check(signed(aud=["x", "iris.default"]))
    assert "for another audience" in refusal(gate, signed(aud=["x"]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"iss": "https://evil.example.com"}, "of another issuer"),
        ({"iss": ISSUER + "/"}, "of another issuer"),
        ({"aud": "other.default"}, "another audience; get one for iris.default"),
        ({"aud": {"iris.default": 1}}, "another audience"),
        ({"aud": []}, "lacks the claim aud"),
        ({"exp": int(time.time()) - 31}, "has expired"),
        ({"nbf": int(time.time()) + 300}, "not valid yet"),
        ({"iat": int(time.time()) + 300}, "not valid yet"),
        ({"exp": None}, "lacks the claim exp"),
        ({"aud": None}, "lacks the claim aud"),
        ({"iss": None}, "lacks the claim iss"),
        ({"exp": "soon"}, "damaged"),
        ({"exp": 1e400}, "damaged"),
        ({"exp": [1]}, "damaged"),
        ({"sub": ["alice"]}, "damaged"),
    ],
)
def test_claims_that_are_refused(make: Any, changed: dict, said: str) -> None:
    private, key_id = private_for("RS256")
    # By hand: the library does not sign what is plainly wrong.
    token = jwt.api_jws.encode(json.dumps(claims(**changed)).encode(), private, "RS256", {"kid": key_id})
    assert said in refusal(make(), f"Bearer {token}")


def test_leeway(make: Any) -> None:
    late = int(time.time()) - 20
    make().check(signed(exp=late))
    assert "expired" in refusal(make(token_leeway_seconds=5), signed(exp=late))


def test_everybody_with_a_token_without_subjects(make: Any) -> None:
    make().check(signed(sub=None))
    refusal(make(token_subjects="alice"), signed(sub=None), 403)
    make(token_subjects="alice").check(signed())


def test_forged_tokens(make: Any) -> None:
    gate = make()
    body = encoded(claims())
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("none", "None", "HS256", "HS512", "ES256K", "ES512", "", 7, None):
        token = f"{encoded({'alg': algorithm, 'kid': 'key-RS256'})}.{body}.{encoded(b'x' * 32)}"
        assert "algorithm is not accepted" in refusal(gate, f"Bearer {token}")
    import hashlib
    import hmac

    head = f"{encoded({'alg': 'HS256', 'kid': 'key-RS256'})}.{body}"
    mac = encoded(hmac.new(pem, head.encode(), hashlib.sha256).digest())
    assert "algorithm is not accepted" in refusal(gate, f"Bearer {head}.{mac}")
    assert "signature is wrong" in refusal(gate, signed(key=OTHER_KEY))
    assert "does not publish" in refusal(gate, signed(headers={"kid": "unknown"}))
    # The right key under the wrong algorithm: an RSA key for a token that says ES256.
    assert "does not publish" in refusal(gate, signed("ES256", headers={"kid": "key-RS256"}))
    # A key that the token brings along is never looked at.
    own = public_jwk(OTHER_KEY, "RS256")
    assert "signature is wrong" in refusal(gate, signed(key=OTHER_KEY, headers={"kid": "key-RS256", "jwk": own}))
    head, _, signature = signed().split(".")
    assert "signature is wrong" in refusal(gate, f"{head}.{encoded(claims(sub='mallory'))}.{signature}")
    assert "cannot be read" in refusal(gate, signed(headers={"kid": "key-RS256", "crit": ["exp2"], "exp2": 1}))


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b", "Bearer a.b.c", "Bearer \xff.\xfe.\xfd",
               "Bearer ..", "Bearer " + "x" * 9000, "Bearer " + "[" * 8000, f"Bearer {encoded([1])}.e30.x",
               f"Bearer {encoded(b'[' * 5000)}.e30.x", f"Bearer {encoded({'alg': ['RS256']})}.e30.x"]
)  # fmt: skip
def test_what_is_no_token(make: Any, header: str | None) -> None:
    said = refusal(make(), header)
    assert "Authorization" in said or "token" in said


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=4))
def test_garbage_is_401(text: str, header: dict) -> None:
    gate = _garbage_gate()
    for token in (text, f"{encoded({'alg': 'RS256', **header})}.{encoded(text.encode())}.{encoded(b'x')}"):
        with pytest.raises(Unauthorized):
            gate.check(f"Bearer {token}")


def _garbage_gate() -> Tokens:
    class Fixed:
        def ring(self) -> Any:
            return RING

        newest = ring
        start = wait = lambda self: None

    return Tokens(Settings(auth="token", token_issuer=ISSUER, token_audience=("iris.default",)), Fixed())


RING = read_key_set(json.dumps({"keys": KEYS}).encode())


def test_a_token_without_a_key_id_is_tried_with_all(make: Any) -> None:
    keys = [public_jwk(OTHER_KEY, "RS256", kid="first"), *KEYS]
    token = jwt.encode(claims(), RSA_KEY, "RS256")
    make(keys).check(f"Bearer {token}")
    assert "signature is wrong" in refusal(make([keys[0]]), f"Bearer {token}")


def test_a_verified_token_is_remembered_until_it_expires(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = make()
    decoded: list[str] = []
    real = jwt.decode

    def decode(token: str, *arguments: Any, **options: Any) -> Any:
        decoded.append(token)
        return real(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", decode)
    token = signed(exp=int(time.time()) + 100)
    for _ in range(5):
        gate.check(token)
    assert len(decoded) == 1
    gate._clock = lambda: time.time() + 131
    gate.check(token)
    assert len(decoded) == 2
    # What is refused is not remembered.
    for _ in range(2):
        refusal(gate, signed(aud="x"))
    assert len(decoded) == 4


def test_what_is_remembered_is_bounded(make: Any) -> None:
    gate = make()
    ring = gate._source.ring()
    for number in range(REMEMBERED):
        gate._remember(ring, f"Bearer {number}", time.time() + 100)
    gate.check(signed())
    assert len(ring.verified) <= REMEMBERED
    assert "Bearer 0" not in ring.verified
    assert f"Bearer {REMEMBERED - 1}" in ring.verified
    for name in ring.verified:
        ring.verified[name] = time.time() - 1
    gate._remember(ring, "Bearer x", time.time() + 100)
    while len(ring.verified) < REMEMBERED:
        gate._remember(ring, f"Bearer again {len(ring.verified)}", time.time() - 1)
    gate._remember(ring, "Bearer y", time.time() + 100)
    assert set(ring.verified) == {"Bearer x", "Bearer y"}


def test_the_file_of_keys_is_read_again(tmp_path: Path) -> None:
    """Another key counts at once for its own tokens, and a withdrawn one is forgotten with what it signed."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": KEYS}))
    now = [0.0]
    source = FileKeys(file, lambda: now[0])
    gate = Tokens(Settings(token_issuer=ISSUER, token_audience=("iris.default",)), source)
    old, new = signed(), signed(key=OTHER_KEY, headers={"kid": "next"})
    gate.check(old)
    assert "does not publish" in refusal(gate, new)
    file.write_text(json.dumps({"keys": [public_jwk(OTHER_KEY, "RS256", kid="next")]}))
    gate.check(new)
    assert "does not publish" in refusal(gate, old)
    # What cannot be read changes nothing; an empty set is a set.
    file.write_text("{")
    now[0] = 2
    gate.check(new)
    file.unlink()
    now[0] = 4
    gate.check(new)
    file.write_text('{"keys": []}')
    now[0] = 6
    assert "does not publish" in refusal(gate, new)


OTHER_KINDS = [
    {"kty": "oct", "k": "c2VjcmV0"},
    {"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"},
    public_jwk(rsa.generate_private_key(65537, 1024), "RS256", kid="short"),
    public_jwk(RSA_KEY, "RS256", use="enc"),
    public_jwk(RSA_KEY, "RS256", alg="HS256"),
    public_jwk(RSA_KEY, "RS256", alg="RSA-OAEP"),
    public_jwk(RSA_KEY, "RS256") | {"key_ops": ["encrypt"]},
    public_jwk(ec.generate_private_key(ec.SECP521R1()), "ES512"),
    public_jwk(ec.generate_private_key(ec.SECP256K1()), "ES256K"),
    public_jwk(ed448.Ed448PrivateKey.generate(), "EdDSA"),
    {"kty": "RSA", "n": "AQAB"},
    {"kty": "RSA", "n": 5, "e": "AQAB"},
    {"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"},
    {"kty": ["RSA"], "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "crv": ["P-256"]},
    {},
    "RSA",
]


@pytest.mark.parametrize("member", OTHER_KINDS, ids=range(len(OTHER_KINDS)))
def test_keys_that_are_not_for_us(make: Any, member: Any) -> None:
    assert len(read_key_set(json.dumps({"keys": [member]}).encode())) == 0
    assert len(read_key_set(json.dumps({"keys": [member, KEYS[0]]}).encode())) == 1
    with pytest.raises(SettingsInvalid, match="no key that can be used"):
        make([member])


def test_a_private_key_that_was_published_is_used_as_a_public_one() -> None:
    whole = jwt.get_algorithm_by_name("RS256").to_jwk(RSA_KEY, as_dict=True) | {"key_ops": ["verify"], "kid": "k"}
    (key,) = read_key_set(json.dumps({"keys": [whole]}).encode()).candidates("k", "RS256")
    assert isinstance(key.key, rsa.RSAPublicKey)


def test_a_key_that_names_its_algorithm_is_for_that_one(make: Any) -> None:
    gate = make([public_jwk(RSA_KEY, "RS256", kid="key-RS256", alg="PS256")])
    gate.check(signed("PS256"))
    assert "does not publish" in refusal(gate, signed("RS256"))


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"7", b'{"keys": {}}', b"[" * 100_000, b" " * 300_000,
                                      b'{"keys": [' + b"{}," * 100 + b"{}]}", b"\xff"])  # fmt: skip
def test_what_is_no_key_set(tmp_path: Path, document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its sentence is what the next line shows)
        read_key_set(document)
    (tmp_path / "jwks").write_bytes(document)
    with pytest.raises(SettingsInvalid, match=r"SCORING_TOKEN_JWKS='.*jwks': \w"):
        FileKeys(tmp_path / "jwks")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"token_issuer": ""}, "needs SCORING_TOKEN_ISSUER: who"),
        ({"token_issuer": "", "token_audience": ""}, "needs SCORING_TOKEN_ISSUER and SCORING_TOKEN_AUDIENCE: who"),
        ({"token_jwks": ""}, "needs SCORING_TOKEN_JWKS: who"),
        ({"token_jwks": "/nowhere/jwks.json"}, "it cannot be read: No such file"),
        ({"token_jwks": "http://issuer.example.com/jwks"}, "by https:// only"),
        ({"token_jwks": "ftp://127.0.0.2.example.com/jwks"}, "by https:// only"),
        ({"token_jwks": "https://user:p4ss@issuer.example.com/jwks"}, "must not have a user's name"),
        ({"token_jwks": "https://"}, "has no host"),
        ({"token_jwks": "https://[1/"}, "cannot be read"),
        ({"token_audience": 'a"b'}, "printable ASCII"),
    ],
)
def test_settings_that_cannot_work(make: Any, values: dict, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said) as raised:
        make(**values)
    assert "p4ss" not in raised.value.message


@pytest.mark.parametrize(
    "url", ["https://issuer.example.com/jwks", "http://127.0.0.1:8/x", "http://[::1]/x", "http://localhost/x"]
)
def test_addresses_that_can_be_asked(make: Any, url: str) -> None:
    gate = make(token_jwks=url)
    with pytest.raises(RequestError) as raised:
        gate.check(signed())
    assert (raised.value.status, raised.value.code) == (503, "NotReady")


def test_a_wrong_subject_is_an_error_class_of_its_own(make: Any) -> None:
    with pytest.raises(Forbidden):
        make(token_subjects="bob").check(signed())
