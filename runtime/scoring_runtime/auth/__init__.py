"""Who may score: the bearers of a key, of a token, or everybody.

An authenticator decides on one request's Authorization header. Its cost is part of every request, so each of them
answers the ordinary case from memory.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from scoring_runtime.auth.keys import KeyFiles
from scoring_runtime.errors import SettingsInvalid
from scoring_runtime.settings import Settings


class Authenticator(Protocol):
    """Decides on the Authorization header of one request."""

    def check(self, authorization: str | None) -> None:
        """Return when the request may go on.

        Raises Unauthorized, Forbidden, or NotReady while it cannot tell.
        """

    def start(self) -> None:
        """Begin to fetch what it decides by, where that comes over the network. Returns at once."""

    def wait(self) -> None:
        """Return when it can decide."""

    def secrets(self) -> Collection[str]:
        """Return what must never appear in a log."""


class Everybody:
    """No authentication."""

    def check(self, authorization: str | None) -> None:
        """Allow it."""

    def start(self) -> None:
        """Nothing is fetched."""

    def wait(self) -> None:
        """It can always decide."""

    def secrets(self) -> Collection[str]:
        """There are none."""
        return ()


def authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator that the settings ask for. Raises SettingsInvalid when it cannot work."""
    if settings.auth == "none":
        if settings.metrics_auth == "required":
            raise SettingsInvalid(
                "SCORING_METRICS_AUTH=required and SCORING_AUTH=none: there is no credential to ask for; "
                "set SCORING_AUTH to key or token, or SCORING_METRICS_AUTH to none"
            )
        return Everybody()
    if settings.auth == "key":
        return KeyFiles(settings.keys_dir)
    # PyJWT and cryptography take a tenth of a second and some megabytes, which other pods need not pay.
    from scoring_runtime.auth.tokens import token_authenticator

    return token_authenticator(settings)


__all__ = ["Authenticator", "Everybody", "KeyFiles", "authenticator"]
