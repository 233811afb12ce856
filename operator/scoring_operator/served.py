"""Which of the kinds that a cluster may lack it serves."""

from collections.abc import Callable, Iterable

from scoring_operator.kinds import Kind
from scoring_operator.kube import Kube

ASK_AGAIN = 60.0
"""Seconds after which a kind that was not there is looked for again, because it may have come."""


class ServedKinds:
    """Remembers which kinds the cluster serves; what was not there is asked for again after a minute."""

    def __init__(self, kube: Kube, steady: Callable[[], float]) -> None:
        self._kube = kube
        self._steady = steady
        self._known: set[Kind] = set()
        self._ask_again_at: dict[Kind, float] = {}

    def listed(self, kinds: Iterable[Kind]) -> None:
        """Take in which kinds could be listed, and forget what was known before."""
        self._known = set(kinds)

    def doubt(self) -> None:
        """Forget what is known: an object could not be written, as if its kind were gone."""
        self._known.clear()
        self._ask_again_at.clear()

    async def serves(self, kind: Kind) -> bool:
        """Whether the cluster serves the kind, as far as is known."""
        if kind not in self._known and self._steady() >= self._ask_again_at.get(kind, 0.0):
            self._ask_again_at[kind] = self._steady() + ASK_AGAIN  # before the answer: one question for all workers
            if await self._kube.serves(kind):
                self._known.add(kind)
        return kind in self._known
