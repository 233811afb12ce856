"""What the operator tells Prometheus about rollouts; docs/operator.md has a line for each metric.

Series of a service exist while it does, and those of a version while the service's last rollout is about it.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from scoring_operator.rollout import Counts, Phase, State
from scoring_operator.store import ServiceKey

_SERVICE = ["namespace", "service"]
_VERSION = [*_SERVICE, "version"]


class RolloutMetrics:
    """The metrics of all rollouts that one operator carries out."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._phase = Gauge(
            "scoring_operator_rollout_phase",
            "1 for the phase of a service's last rollout, 0 for the other phases",
            [*_SERVICE, "phase"],
            registry=registry,
        )
        self._share = Gauge(
            "scoring_operator_rollout_share_ratio",
            "The part of the default version's requests that the old and the new version of a rollout are to have",
            _VERSION,
            registry=registry,
        )
        self._requests = Counter(
            "scoring_operator_rollout_requests_total",
            "Requests to a version that the routers told of while it was judged or compared with",
            _VERSION,
            registry=registry,
        )
        self._errors = Counter(
            "scoring_operator_rollout_errors_total", "Those of them that failed", _VERSION, registry=registry
        )
        self._ended = Counter(
            "scoring_operator_rollouts_ended_total",
            "Rollouts that ended, by how: Promoted, RolledBack",
            [*_SERVICE, "result"],
            registry=registry,
        )
        self._known: dict[ServiceKey, tuple[str, ...]] = {}
        """Service → the versions with series."""

    def at(self, key: ServiceKey, state: State | None) -> None:
        """How far the rollout of a service is after a pass; None without one."""
        if state is None or self._known.get(key) != (state.old, state.new):
            self._drop(key)
        if state is None:
            return
        if key not in self._known:
            self._begin(key, state)
        for phase in Phase:
            self._phase.labels(*_values(key), phase).set(phase is state.phase)
        self._share.labels(*_values(key), state.old).set((100 - state.share) / 100)
        self._share.labels(*_values(key), state.new).set(state.share / 100)

    def counted(self, key: ServiceKey, state: State, grown: Mapping[str, Counts]) -> None:
        """What the routers counted during a rollout on top of what they told before, by version."""
        self.at(key, state)
        for version in (state.old, state.new):
            fresh = grown.get(version, Counts())
            self._requests.labels(*_values(key), version).inc(fresh.requests)
            self._errors.labels(*_values(key), version).inc(fresh.errors)

    def ended(self, key: ServiceKey, phase: Phase) -> None:
        """A rollout ended in this phase."""
        self._ended.labels(*_values(key), phase).inc()

    def forget(self, key: ServiceKey) -> None:
        """A service is gone."""
        self.at(key, None)
        self._ended.remove_by_labels(_labels(key))

    def _begin(self, key: ServiceKey, state: State) -> None:
        """Counters begin at 0, so that Prometheus sees them grow by the first one too."""
        self._known[key] = (state.old, state.new)
        for version in self._known[key]:
            self._requests.labels(*_values(key), version)
            self._errors.labels(*_values(key), version)
        for phase in Phase:
            if phase.ended:
                self._ended.labels(*_values(key), phase)

    def _drop(self, key: ServiceKey) -> None:
        if self._known.pop(key, None) is not None:
            for metric in (self._phase, self._share, self._requests, self._errors):
                metric.remove_by_labels(_labels(key))


def _values(key: ServiceKey) -> tuple[str, str]:
    return key.namespace, key.name


def _labels(key: ServiceKey) -> dict[str, str]:
    return dict(zip(_SERVICE, _values(key), strict=True))
