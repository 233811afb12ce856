"""A JSON Web Key Set (RFC 7517): the public keys with which an issuer's tokens are verified.

Which algorithm a key may be used with follows from the key, never from a token (RFC 8725, 3.1). Symmetric keys are
left out: with them, everybody who can verify a token can make one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_KIND: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
ALGORITHMS = tuple(algorithm for algorithms in _BY_KIND.values() for algorithm in algorithms)
# RFC 7518, 3.3.
MIN_RSA_BITS = 2048
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
# The public members of each kind of key (RFC 7518, 6); a private one that was published by mistake is not looked at.
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


@dataclass(frozen=True)
class VerifyingKey:
    """A public key, and the algorithms whose signatures it may verify."""

    key: Any
    algorithms: tuple[str, ...]


class KeyRing:
    """The keys of one set, and `verified`: what was found to be signed with them.

    The two live and die together: when a key is withdrawn, nothing that it signed is remembered.
    """

    def __init__(self, keys: Mapping[str | None, Sequence[VerifyingKey]]) -> None:
        self._keys = keys
        self.verified: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._keys.values())

    def candidates(self, key_id: str | None, algorithm: str) -> list[VerifyingKey]:
        """Return the keys of that id for `algorithm`; without an id all keys for it."""
        groups = self._keys.values() if key_id is None else (self._keys.get(key_id, ()),)
        return [key for keys in groups for key in keys if algorithm in key.algorithms]


def read_key_set(document: bytes) -> KeyRing:
    """Return the usable keys of a key set; keys for other purposes and of other kinds are left out.

    Raises ValueError with a sentence when it is no key set at all.
    """
    if len(document) > MAX_BYTES:
        raise ValueError(f"a key set may have at most {MAX_BYTES} bytes")
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ValueError('it is no key set: {"keys": [...]}')
    if len(listed) > MAX_KEYS:
        raise ValueError(f"a key set may have at most {MAX_KEYS} keys")
    keys: dict[str | None, list[VerifyingKey]] = defaultdict(list)
    for member in listed:
        key = _verifying_key(member) if isinstance(member, dict) else None
        if key is not None:
            key_id = member.get("kid")
            keys[key_id if isinstance(key_id, str) else None].append(key)
    return KeyRing(dict(keys))


def _verifying_key(member: Mapping[str, Any]) -> VerifyingKey | None:
    kind = member.get("kty")
    curve = member.get("crv", "") if kind != "RSA" else ""
    algorithms = _BY_KIND.get((kind, curve)) if isinstance(kind, str) and isinstance(curve, str) else None
    if algorithms is None or not _is_for_verifying(member):
        return None
    assert isinstance(kind, str)
    # A key that names its algorithm is for that one only.
    named = member.get("alg")
    if named is not None:
        algorithms = tuple(algorithm for algorithm in algorithms if algorithm == named)
        if not algorithms:
            return None
    public = {"kty": kind} | {name: member.get(name) for name in _MEMBERS[kind]}
    try:
        key = PyJWK(public, algorithms[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        return None
    return VerifyingKey(key, algorithms)


def _is_for_verifying(member: Mapping[str, Any]) -> bool:
    operations = member.get("key_ops")
    return member.get("use", "sig") == "sig" and (not isinstance(operations, list) or "verify" in operations)
