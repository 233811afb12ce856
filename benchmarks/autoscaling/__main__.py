"""Replay load traces to the autoscaler, to an ideal one and to a HorizontalPodAutoscaler on CPU.

    make bench-autoscaling

The traces are drawn from traces.yaml. The table goes to docs/benchmarks/autoscaling.md.
"""

from pathlib import Path

import yaml

from benchmarks.autoscaling.scalers import CpuAutoscaler, Ideal, Ours
from benchmarks.autoscaling.simulation import Outcome, Scaler, Service, rates, simulate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "autoscaling.md"
HEAD = """# The autoscaler on load traces

A simulation: the operator's own decision function on {count} traces, beside a scaler that knows the load beforehand and
beside Kubernetes' HorizontalPodAutoscaler on CPU with its defaults. `make bench-autoscaling` replays them; the traces
are described in `benchmarks/autoscaling/traces.yaml`. Nothing here was measured on a cluster.

A pod has {slots} slots and needs {start:g} s to start, a request takes {ms:.0f} ms on average, waits at most
{wait:.0f} ms for a slot and is refused (503) after that. The target is {target} %, from {least} to {most} pods; each
trace begins with one. CPU is in proportion to the busy slots, which is kind to the HorizontalPodAutoscaler: nothing
else uses any, and its metrics are never older than 15 s.

- *Utilization* is the part of the ready pods' slots that was busy; the ideal one stays below the target because pods
  come whole.
- *Waited* is how long 99 % of the requests that were answered waited for a slot at most.
- *Replica-hours* count a pod from when it was asked for; *of ideal* is what had to be paid beside the ideal scaler.
- *Changes* are how often the number of pods was changed.

What it shows: a sudden rise costs fewest requests with `Utilization`, because it sees those that wait, which CPU does
not show; the price is pods that stay a minute longer. A queue makes a load look larger than it is until the new pods
have started, so more pods come than the load needs, and go again after the window.
"""
COLUMNS = """| scaler | utilization | refused | waited, p99 | replica-hours | of ideal | changes |
|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run all traces; print the page and write it."""
    described = yaml.safe_load((Path(__file__).parent / "traces.yaml").read_text())
    service = Service(**described["service"])
    parts = [
        HEAD.format(
            count=len(described["traces"]),
            slots=service.slots,
            start=service.start_seconds,
            ms=1000 * service.seconds,
            wait=1000 * service.queue_seconds,
            target=service.target,
            least=service.min_replicas,
            most=service.max_replicas,
        )
    ]
    for name, trace in described["traces"].items():
        outcomes = replay(service, trace["pieces"], described["seed"])
        parts.append(
            f"## {name.capitalize()}\n\n{trace['about'][0].upper()}{trace['about'][1:]}.\n\n{table(outcomes)}\n"
        )
    page = "\n".join(parts)
    print(page)
    PAGE.write_text(page)


def replay(service: Service, pieces: list[list[float]], seed: int) -> dict[str, Outcome]:
    """The outcome of each scaler on the same requests."""
    trace = rates(pieces)
    scalers: dict[str, Scaler] = {
        "ideal": Ideal(service, trace),
        "Utilization": Ours(service),
        "HPA on CPU": CpuAutoscaler(service),
    }
    return {name: simulate(service, trace, scaler, seed) for name, scaler in scalers.items()}


def table(outcomes: dict[str, Outcome]) -> str:
    """The outcomes as a Markdown table."""
    hours = outcomes["ideal"].hours
    rows = [
        f"| {name} | {one.utilization:.0%} | {one.refused_share:.2%} | {1000 * one.wait(0.99):.0f} ms "
        f"| {one.hours:.2f} | {one.hours / hours:.2f} | {one.changes} |"
        for name, one in outcomes.items()
    ]
    return "\n".join([COLUMNS, *rows])


if __name__ == "__main__":
    main()
