"""The autoscaler's simulation: the yardsticks must be what they are called, or the comparison means nothing.

service          a load that fits is served without waiting; one too large is refused; the same seed, the same requests
ideal            has the pods ready when the load comes, and no more
HPA on CPU       Kubernetes' algorithm: every 15 s, within 10 % nothing, up by the double or 4, down after 5 minutes
traces           are described completely and end where they say
"""

from pathlib import Path

import pytest
import yaml

from benchmarks.autoscaling import __main__ as bench
from benchmarks.autoscaling.scalers import CpuAutoscaler, Ideal, Ours
from benchmarks.autoscaling.simulation import STEP, Seen, Service, rates, simulate

SERVICE = Service(slots=8, seconds=0.2, queue_seconds=0.5, start_seconds=20, target=70, min_replicas=1, max_replicas=20)


def test_a_load_that_fits_is_served_and_one_that_does_not_is_refused() -> None:
    trace = rates([[120, 20, 20]])
    fits = simulate(SERVICE, trace, lambda _: 2, seed=1)
    assert fits.refused == 0
    assert fits.served == pytest.approx(2400, rel=0.1)
    assert fits.busy_seconds == pytest.approx(2400 * 0.2, rel=0.1)
    assert fits.pod_seconds == pytest.approx(240, rel=0.01)
    heavy = simulate(SERVICE, rates([[120, 100, 100]]), lambda _: 1, seed=1)
    assert heavy.refused_share == pytest.approx(1 - 40 / 100, abs=0.05)
    assert heavy.utilization > 0.99
    assert heavy.wait(0.99) <= SERVICE.queue_seconds


def test_the_same_seed_brings_the_same_requests() -> None:
    first, second, other = (simulate(SERVICE, rates([[60, 50, 50]]), Ours(SERVICE), seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_the_ideal_scaler_is_ahead_of_the_load_by_the_start_of_a_pod() -> None:
    trace = rates([[60, 20, 20], [60, 100, 100], [60, 20, 20]])
    ideal = Ideal(SERVICE, trace)
    asked = [ideal(Seen(step * STEP, 1, 1, 0, 0)) for step in range(len(trace))]
    assert (asked[0], asked[-1]) == (1, 1)
    assert asked.index(4) == pytest.approx((60 - SERVICE.start_seconds) / STEP, abs=2)
    assert asked[round(121 / STEP)] == 1


def cpu(busy: int, pods: int, seconds: float, scaler: CpuAutoscaler, since: float = 0.0) -> int:
    """The pods that the autoscaler asks for after so many seconds with `busy` slots taken, all pods ready."""
    for step in range(round(seconds / STEP)):
        pods = scaler(Seen(since + step * STEP, pods, pods, busy, 0))
    return pods


def test_the_autoscaler_on_cpu_goes_by_kubernetes_rules() -> None:
    assert cpu(8, 1, 14, CpuAutoscaler(SERVICE)) == 1
    assert cpu(8, 1, 16, CpuAutoscaler(SERVICE)) == 2  # ceil(100 / 70)
    assert cpu(12, 2, 16, CpuAutoscaler(SERVICE)) == 2  # 75 %: within the tolerance
    assert cpu(160, 20, 16, CpuAutoscaler(SERVICE)) == 20
    falling = CpuAutoscaler(SERVICE)
    assert cpu(45, 8, 60, falling) == 8
    assert cpu(4, 8, 240, falling, 60) == 8
    assert cpu(4, 8, 120, falling, 300) == 1


def test_the_traces_are_described_and_every_scaler_runs_on_them() -> None:
    described = yaml.safe_load((Path(bench.__file__).parent / "traces.yaml").read_text())
    assert set(described["traces"]) == {"steady", "burst", "daily", "flash crowd"}
    service = Service(**described["service"])
    for trace in described["traces"].values():
        whole = rates(trace["pieces"])
        assert len(whole) * STEP == pytest.approx(sum(piece[0] for piece in trace["pieces"]))
        assert trace["about"]
    outcomes = bench.replay(service, [[30, 20, 20]], described["seed"])
    assert set(outcomes) == {"ideal", "Utilization", "HPA on CPU"}
    assert bench.table(outcomes).count("\n") == 4
