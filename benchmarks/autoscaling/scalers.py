"""Those who are compared: the operator's own decision, an ideal scaler, and Kubernetes' autoscaler on CPU."""

import math
from collections import deque

import numpy as np

from benchmarks.autoscaling.simulation import STEP, Seen, Service
from scoring_operator.autoscaling.decision import KEPT_SECONDS, Reading, desired_replicas
from scoring_operator.spec import Autoscaling


class Ours:
    """The operator: a reading each second, and one more a quarter of a second after one that finds all slots taken."""

    def __init__(self, service: Service) -> None:
        self._bounds = Autoscaling(service.min_replicas, service.max_replicas, target=service.target)
        self._slots = service.slots
        self._readings: deque[Reading] = deque()
        self._next = 0.0

    def __call__(self, seen: Seen) -> int:
        """The pods to ask for."""
        if seen.second + STEP / 2 < self._next:
            return seen.asked
        found = Reading(seen.second, seen.busy + seen.queued, self._slots, seen.ready)
        again = found.full and not (self._readings and self._readings[-1].full)
        self._next = seen.second + (0.3 if again else 1.0)
        self._readings.append(found)
        while seen.second - self._readings[0].moment > KEPT_SECONDS:
            self._readings.popleft()
        return desired_replicas(self._bounds, seen.asked, list(self._readings))


class Ideal:
    """Knows the trace: each pod is ready when the expected load needs it for the target, and gone at once after."""

    def __init__(self, service: Service, trace: np.ndarray) -> None:
        ahead = round(service.start_seconds / STEP)
        need = np.ceil(trace * service.seconds / (service.target / 100 * service.slots) - 1e-9)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(need, (0, ahead), mode="edge"), ahead + 1)
        self._plan = np.clip(windows.max(axis=1), service.min_replicas, service.max_replicas).astype(int)

    def __call__(self, seen: Seen) -> int:
        """The pods to ask for."""
        return int(self._plan[round(seen.second / STEP)])


class CpuAutoscaler:
    """A HorizontalPodAutoscaler with a target for CPU and the defaults of Kubernetes.

    A pod whose slots are all busy uses what it requests; waiting requests use nothing. The metric is the mean of the
    last 15 s. Every 15 s: no change within 10 % of the target; up by at most the double or four pods; down to the
    largest number that was recommended within five minutes
    (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details).
    """

    _TOLERANCE = 0.1
    _SYNC_SECONDS = 15.0
    _STABLE_SECONDS = 300.0

    def __init__(self, service: Service) -> None:
        self._service = service
        self._used: deque[float] = deque(maxlen=round(self._SYNC_SECONDS / STEP))
        self._recommended: deque[tuple[float, int]] = deque()
        self._next = self._SYNC_SECONDS

    def __call__(self, seen: Seen) -> int:
        """The pods to ask for."""
        self._used.append(min(seen.busy / max(seen.ready * self._service.slots, 1), 1.0))
        if seen.second + STEP / 2 < self._next:
            return seen.asked
        self._next += self._SYNC_SECONDS
        wanted = min(max(self._formula(seen), self._service.min_replicas), self._service.max_replicas)
        self._recommended.append((seen.second, wanted))
        while seen.second - self._recommended[0][0] > self._STABLE_SECONDS:
            self._recommended.popleft()
        if wanted < seen.asked:
            return min(max(number for _, number in self._recommended), seen.asked)
        return min(wanted, max(2 * seen.asked, seen.asked + 4))

    def _formula(self, seen: Seen) -> int:
        ratio = float(np.mean(self._used)) * 100 / self._service.target
        pods = seen.ready
        if ratio > 1:  # pods that start count as idle
            ratio, pods = max(ratio * seen.ready / seen.asked, 1.0), seen.asked
        return seen.asked if abs(ratio - 1) <= self._TOLERANCE else math.ceil(pods * ratio)
