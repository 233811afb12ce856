"""What the operator tells Prometheus about itself; docs/operator.md has a line for each metric."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from scoring_operator.rollout_metrics import RolloutMetrics
from scoring_operator.store import ServiceKey

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All metrics of one operator."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._passes = Counter(
            "scoring_operator_passes_total",
            "Passes over a service, by how they ended: settled, waiting, error",
            ["result"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "scoring_operator_pass_seconds", "Duration of a pass", buckets=_SECONDS, registry=self.registry
        )
        self._writes = Counter(
            "scoring_operator_child_changes_total",
            "Children created, updated and deleted",
            ["change"],
            registry=self.registry,
        )
        self._requests = Counter(
            "scoring_operator_api_requests_total",
            "Calls of the Kubernetes API other than watches; code 0 is no answer",
            ["method", "code"],
            registry=self.registry,
        )
        self._events = Counter(
            "scoring_operator_watch_events_total",
            "Events that told something new",
            ["kind"],
            registry=self.registry,
        )
        self._services = Gauge(
            "scoring_operator_services",
            "Services by state: Ready, Progressing, Stalled",
            ["state"],
            registry=self.registry,
        )
        self._expiry = Gauge(
            "scoring_operator_certificate_expiry_timestamp_seconds",
            "When the certificate that the operator issued for a service ends (Unix time)",
            ["namespace", "service"],
            registry=self.registry,
        )
        self._utilization = Gauge(
            "scoring_operator_autoscaler_utilization_ratio",
            "Busy and waiting requests over the slots of a version's pods, as last read",
            ["namespace", "service", "version"],
            registry=self.registry,
        )
        self._silent = Gauge(
            "scoring_operator_autoscaler_silent_pods",
            "Ready pods of a version that did not tell their load when last asked",
            ["namespace", "service", "version"],
            registry=self.registry,
        )
        self._scalings = Counter(
            "scoring_operator_scalings_total",
            "Changes of a version's number of pods by the autoscaler: up, down",
            ["namespace", "service", "version", "direction"],
            registry=self.registry,
        )
        self.rollouts = RolloutMetrics(self.registry)
        self._queue = {
            name: Gauge(f"scoring_operator_queue_{name}", text, registry=self.registry)
            for name, text in (
                ("waiting", "Services waiting for a worker"),
                ("active", "Services being worked on"),
                ("retrying", "Services whose last pass failed"),
                ("oldest_seconds", "Age of the oldest pass in progress"),
            )
        }
        self._leader = Gauge(
            "scoring_operator_leader",
            "1 while this replica does the work, 0 while it stands by",
            registry=self.registry,
        )
        self._states: dict[ServiceKey, str] = {}
        for state in ("Ready", "Progressing", "Stalled"):
            self._services.labels(state)

    def passed(self, result: str, seconds: float) -> None:
        """A pass ended with `result` after `seconds`."""
        self._passes.labels(result).inc()
        self._seconds.observe(seconds)

    def changed(self, change: str, number: int) -> None:
        """A pass made this many changes of one sort (created, updated, deleted)."""
        if number:
            self._writes.labels(change).inc(number)

    def requested(self, method: str, code: int) -> None:
        """The API answered a call."""
        self._requests.labels(method, str(code)).inc()

    def noticed(self, kind: str) -> None:
        """A watch told something new."""
        self._events.labels(kind).inc()

    def leading(self, leads: bool) -> None:
        """This replica does the work, or does not."""
        self._leader.set(leads)

    def state(self, key: ServiceKey, state: str) -> None:
        """The state of a service after a pass."""
        old = self._states.get(key)
        if old == state:
            return
        if old is not None:
            self._services.labels(old).dec()
        self._services.labels(state).inc()
        self._states[key] = state

    def certificate(self, key: ServiceKey, ends: float | None) -> None:
        """When the certificate of a service ends (Unix time); None for one without."""
        if ends is not None:
            self._expiry.labels(key.namespace, key.name).set(ends)
        else:
            self._without_certificate(key)

    def load(self, key: ServiceKey, version: str, utilization: float, silent: int) -> None:
        """What the pods of a version told of their load (1: all slots are taken)."""
        self._utilization.labels(key.namespace, key.name, version).set(utilization)
        self._silent.labels(key.namespace, key.name, version).set(silent)

    def scaled(self, key: ServiceKey, version: str, up: bool) -> None:
        """The autoscaler changed the number of a version's pods."""
        self._scalings.labels(key.namespace, key.name, version, "up" if up else "down").inc()

    def without_load(self, key: ServiceKey, version: str) -> None:
        """A version is gone, or has no autoscaler any more."""
        for gauge in (self._utilization, self._silent):
            gauge.remove(key.namespace, key.name, version)
        for direction in ("up", "down"):
            self._scalings.remove(key.namespace, key.name, version, direction)

    def forget(self, key: ServiceKey) -> None:
        """A service is gone."""
        state = self._states.pop(key, None)
        if state is not None:
            self._services.labels(state).dec()
        self._without_certificate(key)
        self.rollouts.forget(key)

    def watch_queue(self, read: dict[str, Callable[[], float]]) -> None:
        """Read the queue's gauges from these functions whenever metrics are asked for."""
        for name, function in read.items():
            self._queue[name].set_function(function)

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _without_certificate(self, key: ServiceKey) -> None:
        self._expiry.remove(key.namespace, key.name)
