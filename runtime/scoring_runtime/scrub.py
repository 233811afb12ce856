"""Taking secrets out of a line of the log just before it is written.

The runtime itself never logs a key, a token or a payload. Libraries log what they like: the headers of a request, an
address with a signature in its query, an exception that quotes its arguments. What is looked for: the known secrets, as
they are, and everything that has the form of a credential.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping

import orjson

HIDDEN = "[hidden]"
# Shorter ones would be found in ordinary words, and protect nothing.
MIN_CHARACTERS = 6
_VARIABLES = (
    "HTTP_BEARER_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_CREDENTIALS", "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
)  # fmt: skip
_HEADER_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
# A value ends where a quote, a space or a bracket does, so that what is left of a JSON line is still JSON.
_VALUE = r"[^\s\"'\\,;(){}\[\]<>]+"
_FORMS = (
    # JSON Web Tokens: three parts of base64url, the first of which is the JSON text {"… .
    (re.compile(r"\be[yw][A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*"), HIDDEN),
    # Authorization: Bearer x, 'Authorization': 'Basic x', ("authorization", "x"), X-Api-Key=x, Cookie: x
    (
        re.compile(
            r"((?:authorization|api[-_]?key|set-cookie|cookie|password|passwd|client[-_]?secret|[a-z]+[-_]token)[\\\"']*\s*[:=,]\s*(?:b(?=[\\\"']))?[\\\"']*)"
            rf"(?:(?:bearer|basic|digest|negotiate|token|apikey|aws4-hmac-sha256)\s+)?{_VALUE}",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"\b(bearer|basic)\s+(?!realm=){_VALUE}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=x; AccountName=x;AccountKey=x
    (re.compile(rf"\b(signature|credential|account_?key)=({_VALUE})", re.IGNORECASE), rf"\1={HIDDEN}"),
    # The keys of service accounts, with line ends as JSON writes them or others.
    (re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[^-\"]+"), rf"\1{HIDDEN}"),
    # https://user:password@host, but not abfs://container@account
    (re.compile(r"(?<!\babfs)(?<!\babfss)(?<!\baz)(://)[^\s/\"'@\\]+@"), rf"\1{HIDDEN}@"),
    # ?X-Amz-Signature=x&sig=x&access_token=x
    (
        re.compile(
            r"([?&][\w.-]*(?:token|key|secret|signature|sig|password|passwd|pwd|credential|code|auth)[\w.-]*=)"
            r"[^\s&\"'\\<>]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)
# What each of the forms above needs. Looking for these few is much cheaper than the forms themselves, and the lines of
# the access log, which are many, have none of them.
_HINTS = ("auth", "bearer", "basic", "api", "cookie", "passw", "secret", "token", "signature", "credential", "account",
          "private", "://", "?", "ey", "ew")  # fmt: skip
_REQUEST_HINTS = (b"eyJ", b"earer")

Secrets = Callable[[], Collection[str]]


class Scrubber:
    """Replaces secrets in text by [hidden]. `known` give the secrets that are in force, each time anew."""

    def __init__(self, fixed: Iterable[str] = ()) -> None:
        self._fixed = _spellings(fixed)
        self._known: list[Secrets] = []
        self._spelled: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())

    def add(self, known: Secrets) -> None:
        """Look for what `known` returns, too."""
        self._known.append(known)

    def scrub(self, text: str) -> str:
        """Return `text`, a line of JSON or any other, without secrets."""
        for secret in self._secrets():
            text = text.replace(secret, HIDDEN)
        lower = text.lower()
        if any(hint in lower for hint in _HINTS):
            for form, instead in _FORMS:
                text = form.sub(instead, text)
        return text

    def scrub_requests(self, lines: bytes) -> bytes:
        """Return lines of the access log without secrets; what clients choose in them is a path and an id."""
        if any(hint in lines for hint in _REQUEST_HINTS):
            return self.scrub(lines.decode()).encode()
        for secret in self._secrets():
            lines = lines.replace(secret.encode(), HIDDEN.encode())
        return lines

    def _secrets(self) -> tuple[str, ...]:
        if not self._known:
            return self._fixed
        known = frozenset(secret for secrets in self._known for secret in secrets())
        if known != self._spelled[0]:
            self._spelled = known, _spellings(known)
        return self._fixed + self._spelled[1]


def secrets_of(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the secrets that a process is given by environment variables, for fetching and for traces."""
    values = [environment.get(name, "") for name in _VARIABLES]
    values += _docker_secrets(environment.get("DOCKER_AUTH_CONFIG", ""))
    for name in _HEADER_VARIABLES:
        # name=value pairs, comma-separated; a value may be percent-encoded.
        values += [pair.partition("=")[2].strip() for pair in environment.get(name, "").split(",")]
    return values


def _docker_secrets(config: str) -> list[str]:
    """Return the passwords in a Docker configuration, encoded and not."""
    try:
        entries = list(orjson.loads(config)["auths"].values())
        pairs = [base64.b64decode(entry["auth"]).decode() for entry in entries if "auth" in entry]
        found = [entry[name] for entry in entries for name in ("auth", "password") if name in entry]
        return [config, *found, *(pair.partition(":")[2] for pair in pairs)]
    except (ValueError, LookupError, TypeError, AttributeError):
        return [config]


def _spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the secrets as they are and as JSON writes them, the longest first: one may be a part of another."""
    long = [secret for secret in secrets if len(secret) >= MIN_CHARACTERS]
    both = {*long, *(orjson.dumps(secret).decode()[1:-1] for secret in long)}
    return tuple(sorted(both, key=len, reverse=True))
