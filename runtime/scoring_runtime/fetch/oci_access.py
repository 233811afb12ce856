"""Access to a container registry: the credentials of `docker login`, and the tokens they are exchanged for.

A registry says with 401 what it wants: the credentials themselves, or a token of another server, which also gives one
to nobody for what is public (https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from scoring_runtime.errors import ModelSourceUnavailable, SettingsInvalid
from scoring_runtime.fetch.client import Client, Wording

CONFIG_VARIABLE = "DOCKER_AUTH_CONFIG"
DEFAULT_LIFE_SECONDS = 60
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class DockerConfig:
    """The `auths` of a Docker configuration. Raises SettingsInvalid for one that cannot be read."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        try:
            config = orjson.loads(environment.get(CONFIG_VARIABLE) or b"{}")
            self._auths: Mapping[str, Any] = {_host(name): entry for name, entry in (config.get("auths") or {}).items()}
        except (orjson.JSONDecodeError, AttributeError):
            raise SettingsInvalid(
                f"{CONFIG_VARIABLE} is no configuration of Docker; make the Secret with kubectl create secret "
                "docker-registry"
            ) from None

    def credentials(self, registry: str) -> str | None:
        """Return "Basic …" for a registry, or None."""
        names = _DOCKER_HUB if registry in _DOCKER_HUB else (registry,)
        entry = next((self._auths[name] for name in names if name in self._auths), None) or {}
        pair = entry.get("auth")
        if not pair and entry.get("username"):
            pair = base64.b64encode(f"{entry['username']}:{entry.get('password', '')}".encode()).decode()
        return f"Basic {pair}" if pair else None


class Access:
    """What a registry gets as authorization."""

    def __init__(
        self,
        base: str,
        repository: str,
        credentials: str | None,
        wording: Wording,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = base
        self._repository = repository
        self._credentials = credentials
        # The challenge is asked for without, and answered with the credentials.
        self._nobody = Client(wording)
        self._user = Client(wording, lambda: credentials)
        self._clock = clock
        self._value: str | None = None
        self._until = 0.0

    def authorization(self) -> str | None:
        """Return the header's value; a token is asked for anew before it ends."""
        if self._clock() >= self._until:
            self._value, seconds = self._asked()
            self._until = self._clock() + seconds
        return self._value

    def _asked(self) -> tuple[str | None, float]:
        challenge = self._nobody.challenge(self._base)
        if challenge is None:
            return self._credentials, float("inf")
        kind, _, rest = challenge.partition(" ")
        if kind.lower() != "bearer":
            return self._credentials, float("inf")
        given = dict(_PARAMETER.findall(rest))
        realm = given.get("realm", "")
        allowed = ("https",) if self._base.startswith("https:") else ("https", "http")
        if urlsplit(realm).scheme not in allowed:
            raise ModelSourceUnavailable(
                f"the registry of {self._user.wording.address} wants tokens of {realm!r}, which is no https:// address"
            )
        query = {"service": given.get("service", ""), "scope": f"repository:{self._repository}:pull"}
        token = self._user.json_object(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}")
        value = token.get("token") or token.get("access_token")
        if not value:
            raise ModelSourceUnavailable(f"{realm} gave no token for {self._user.wording.address}")
        # Before it ends, so that no request is on its way with one that does.
        return f"Bearer {value}", 0.8 * float(token.get("expires_in") or DEFAULT_LIFE_SECONDS)


def _host(name: str) -> str:
    """Return the host and port of a name in a Docker configuration, which may be an address."""
    return name.partition("://")[2].partition("/")[0] if "://" in name else name.partition("/")[0]
