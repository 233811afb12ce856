"""The cluster as an issuer of tokens, read from the API server now and then, so that new signing keys are followed.

One reading serves all services. The API server publishes every key that it accepts (--service-account-key-file), so
whoever rotates the key that signs adds the new one there first; it has to stand there for ten minutes before it signs.
"""

import asyncio
from collections.abc import Callable

from scoring_operator.errors import IssuerUnknown
from scoring_operator.kube import Kube
from scoring_operator.spec import ScoringService
from scoring_operator.tokens import CONFIGURATION_PATH, KEYS_PATH, ClusterIssuer, read_cluster_issuer

REFRESH_SECONDS = 600.0
"""How long a reading is good for."""


class IssuerKeeper:
    """Knows the cluster's issuer and keys."""

    def __init__(self, kube: Kube, steady: Callable[[], float]) -> None:
        self._kube = kube
        self._steady = steady
        self._known: ClusterIssuer | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def issuer(self, service: ScoringService) -> ClusterIssuer | None:
        """The issuer for `service`; None for one that does not take the cluster's tokens.

        Raises IssuerUnknown when the cluster does not publish it, or what the API server answers instead.
        """
        if not service.trusts_the_cluster:
            return None
        async with self._lock:
            if self._known is None or self._steady() - self._read_at >= REFRESH_SECONDS:
                self._known = await self._read()
                self._read_at = self._steady()
            return self._known

    def next_reading(self, service: ScoringService) -> float | None:
        """After how many seconds `service` wants another pass to follow the keys; None when it does not use them."""
        if not service.trusts_the_cluster:
            return None
        return max(REFRESH_SECONDS - (self._steady() - self._read_at), 1.0)

    async def _read(self) -> ClusterIssuer:
        configuration = await self._kube.document(CONFIGURATION_PATH)
        key_set = await self._kube.document(KEYS_PATH)
        if configuration is None or key_set is None:
            raise IssuerUnknown(f"there is no {CONFIGURATION_PATH if configuration is None else KEYS_PATH}")
        return read_cluster_issuer(configuration, key_set)
