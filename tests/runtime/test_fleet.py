"""Several processes' reports as one.

case                                      expected
load                                      busy, queued and slots are added
counters, histograms                      added, series by series; one that only one process has is kept
ready; load time, info; start time        the least; the greatest; the oldest
a process that is gone                    left out
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scoring_runtime.batching import Load
from scoring_runtime.process.fleet import Fleet, load_answer, merged


def exposition(requests: dict[str, int], seconds: list[float], ready: int, load_seconds: float) -> str:
    registry = CollectorRegistry()
    counter = Counter("scoring_requests", "Requests.", ["code"], registry=registry)
    for code, count in requests.items():
        counter.labels(code=code).inc(count)
    histogram = Histogram("scoring_request_seconds", "Seconds.", buckets=(0.1, 1), registry=registry)
    for value in seconds:
        histogram.observe(value)
    Gauge("scoring_ready", "Ready.", registry=registry).set(ready)
    Gauge("scoring_model_load_seconds", "Load.", registry=registry).set(load_seconds)
    return generate_latest(registry).decode()


def values(text: bytes) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_metrics_are_combined() -> None:
    one = exposition({"200": 5, "503": 1}, [0.05, 0.5], 1, 2.0)
    other = exposition({"200": 7}, [0.06], 0, 3.0)
    together = values(merged([one, other]))
    assert together["scoring_requests_total{200}"] == 12
    assert together["scoring_requests_total{503}"] == 1
    assert together["scoring_request_seconds_bucket{0.1}"] == 2
    assert together["scoring_request_seconds_bucket{+Inf}"] == together["scoring_request_seconds_count"] == 3
    assert together["scoring_request_seconds_sum"] == pytest.approx(0.61)
    assert (together["scoring_ready"], together["scoring_model_load_seconds"]) == (0, 3)


def test_one_exposition_stays_as_it_is() -> None:
    one = exposition({"200": 5}, [0.05], 1, 2.0)
    assert values(merged([one])) == values(one.encode())


@pytest.fixture
def fleets(tmp_path: Path) -> Iterator[list[Fleet]]:
    made = [Fleet(tmp_path, number, 3) for number in range(3)]
    for number, fleet in enumerate(made[:2]):
        load = Load(number + 1, 10 * number, 4)
        fleet.listen({"load": lambda load=load: load_answer(load)})
    yield made
    for fleet in made:
        fleet.close()


def test_loads_are_added_and_who_is_gone_is_left_out(fleets: list[Fleet]) -> None:
    assert fleets[0].load() == fleets[1].load() == Load(3, 10, 8)


def test_a_process_takes_the_place_of_the_one_before(fleets: list[Fleet], tmp_path: Path) -> None:
    fleets[1].close()
    successor = Fleet(tmp_path, 1, 3)
    successor.listen({"load": lambda: load_answer(Load(5, 5, 5))})
    try:
        assert fleets[0].load() == Load(6, 5, 9)
    finally:
        successor.close()
