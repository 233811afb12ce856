"""Tokens: JSON Web Tokens (RFC 7519) of one issuer, such as Kubernetes' own for service accounts.

A token is verified once; until it expires, or the issuer's keys change, it is then found in a dict. What is checked, in
this order: that the signature is by one of the issuer's keys with an algorithm of that key, `iat`, `nbf`, `exp`, `iss`,
`aud`, and, if set, `sub`. The rules are those of RFC 8725 (best practices) and RFC 9068 (access tokens).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jwt

from scoring_runtime.auth.bearer import credential, forbidden, refused
from scoring_runtime.auth.download import KeySetAddress
from scoring_runtime.auth.jwks import ALGORITHMS, KeyRing, VerifyingKey
from scoring_runtime.auth.sources import FetchedKeys, FileKeys, KeySource
from scoring_runtime.errors import SettingsInvalid, Unauthorized
from scoring_runtime.settings import Settings, variable

# Tokens that are remembered as verified. All of them are genuine, so this is at most some megabytes.
REMEMBERED = 1024
MAX_CHARACTERS = 8 * 1024
# A token without a key id is tried with the issuer's keys one after the other.
_MAX_TRIED = 8


class Tokens:
    """Accepts `Bearer TOKEN`."""

    def __init__(self, settings: Settings, source: KeySource, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._subjects = frozenset(settings.token_subjects)
        self._lock = threading.Lock()

    def check(self, authorization: str | None) -> None:
        """See `Authenticator.check`."""
        ring = self._source.ring()
        if authorization is not None:
            expires = ring.verified.get(authorization)
            if expires is not None and self._clock() < expires:
                return
        self._verify(authorization, ring)

    def start(self) -> None:
        """See `Authenticator.start`."""
        self._source.start()

    def wait(self) -> None:
        """See `Authenticator.wait`."""
        self._source.wait()

    def secrets(self) -> Collection[str]:
        """Return none: a token is known in a log by its form."""
        return ()

    def _verify(self, authorization: str | None, ring: KeyRing) -> None:
        token = credential(authorization, "TOKEN")
        algorithm, key_id = _header(token)
        keys = ring.candidates(key_id, algorithm)
        if not keys:
            ring = self._source.newest()
            keys = ring.candidates(key_id, algorithm)
        if not keys:
            raise refused("the token is signed with a key that its issuer does not publish")
        claims = self._claims(token, algorithm, keys)
        if self._subjects and claims.get("sub") not in self._subjects:
            raise forbidden("the token is genuine, and its subject is none of those who may score here")
        assert authorization is not None
        self._remember(ring, authorization, int(claims["exp"]) + self._settings.token_leeway_seconds)

    def _claims(self, token: str, algorithm: str, keys: list[VerifyingKey]) -> dict[str, Any]:
        settings = self._settings
        for key in keys[:_MAX_TRIED]:
            try:
                return jwt.decode(
                    token,
                    key.key,
                    # One of those of the key, see `KeyRing.candidates`.
                    algorithms=[algorithm],
                    audience=settings.token_audience,
                    issuer=settings.token_issuer,
                    leeway=settings.token_leeway_seconds,
                    options={"require": ["exp", "iss", "aud"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
                raise self._reason(error) from None
        raise refused("the token's signature is wrong")

    def _reason(self, error: Exception) -> Unauthorized:
        """Return what to tell the bearer. The signature was right, unless the token cannot be read at all."""
        if isinstance(error, jwt.ExpiredSignatureError):
            return refused("the token has expired; get a new one")
        if isinstance(error, jwt.ImmatureSignatureError):
            return refused("the token is not valid yet; is a clock wrong?")
        if isinstance(error, jwt.MissingRequiredClaimError):
            return refused(f"the token lacks the claim {error.claim}")
        if isinstance(error, jwt.InvalidIssuerError):
            return refused("the token is of another issuer than this service trusts")
        if isinstance(error, jwt.InvalidAudienceError):
            audiences = " or ".join(self._settings.token_audience)
            return refused(f"the token is for another audience; get one for {audiences}")
        return refused("the token is damaged")

    def _remember(self, ring: KeyRing, authorization: str, expires: float) -> None:
        with self._lock:
            verified = ring.verified
            if len(verified) >= REMEMBERED:
                now = self._clock()
                for old in [name for name, end in verified.items() if end <= now] or list(verified)[: REMEMBERED // 4]:
                    del verified[old]
            verified[authorization] = expires


def token_authenticator(settings: Settings) -> Tokens:
    """Return the authenticator for SCORING_AUTH=token. Raises SettingsInvalid when it cannot work."""
    needed = ("token_issuer", "token_audience", "token_jwks")
    missing = [variable(name) for name in needed if not getattr(settings, name)]
    if missing:
        raise SettingsInvalid(
            f"SCORING_AUTH=token needs {' and '.join(missing)}: who issues the tokens, whom they are for, and where "
            "the issuer's public keys are"
        )
    if not all(_fits_a_header(audience) for audience in settings.token_audience):
        raise SettingsInvalid("SCORING_TOKEN_AUDIENCE: an audience has printable ASCII characters, without quotes")
    return Tokens(settings, _source(settings.token_jwks))


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and not {'"', "\\"} & set(text)


def _source(where: str) -> KeySource:
    if "://" in where:
        return FetchedKeys(KeySetAddress(where).fetch)
    return FileKeys(Path(where))


def _header(token: str) -> tuple[str, str | None]:
    """Return the algorithm and the key id that a token names. Raises Unauthorized; nothing of it is trusted."""
    if len(token) > MAX_CHARACTERS:
        raise refused(f"a token may have at most {MAX_CHARACTERS} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise refused("this token cannot be read; a JSON Web Token has three parts with dots between them") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise refused(f"the token's algorithm is not accepted; accepted are {', '.join(ALGORITHMS)}")
    return algorithm, key_id if isinstance(key_id, str) else None
