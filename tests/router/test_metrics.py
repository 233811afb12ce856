"""What the operator reads of a real router's metrics.

| requests                                        | counted                                                          |
|-------------------------------------------------|------------------------------------------------------------------|
| answered well, with 500, by nobody              | requests and errors of each version                              |
| fast and slow ones                              | the p99 lies between the bounds that their durations are between |
| more of them; a router that starts anew         | what came on top                                                 |
| a version that nobody asked                     | nothing                                                          |
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoring_operator.envoy.bootstrap import LATENCY_MILLISECONDS
from scoring_operator.rollout import Counts
from scoring_operator.router_metrics import METRICS_QUERY, growth, read_counts, read_page
from tests.router.running import Backend, Router, scoring_service
from tests.waiting import until

pytestmark = pytest.mark.process

VERSIONS = ("v1", "v2", "v3")
SERVICE = scoring_service({}, {"traffic": 40}, {})


@contextlib.contextmanager
def running(folder: Path, pods: dict[str, int]) -> Iterator[Router]:
    router = Router(folder, pods)
    try:
        yield router.start(SERVICE)
    finally:
        router.stop()


def counted(router: Router, version: str, requests: int) -> Counts:
    """The counts of a version once they hold this many requests, with their durations."""

    def counts() -> Counts:
        status, page = router.own(METRICS_QUERY)
        assert status == 200
        return read_counts(page, VERSIONS).get(version, Counts())

    until(lambda: counts().requests == requests, f"{requests} requests are counted")
    until(lambda: counts().timed >= requests, "their durations are, too")
    return counts()


def test_answers_and_durations_are_counted_by_version(tmp_path: Path) -> None:
    good, bad = Backend(), Backend()
    bad.status = 500
    with (
        contextlib.closing(good),
        contextlib.closing(bad),
        running(tmp_path, {"v1": good.port, "v2": bad.port}) as router,
    ):
        for version in ("v1", "v2"):
            for _ in range(5):
                assert router.post(scoring_version=version).status == (200 if version == "v1" else 500)
        assert counted(router, "v1", 5).errors == 0
        assert counted(router, "v2", 5).errors == 5
        assert router.post(scoring_version="v3").status == 503
        before = read_counts(router.own(METRICS_QUERY)[1], VERSIONS)
        assert (before["v3"].requests, before["v3"].errors) == (1, 1), "nobody was there to answer"
        assert set(before["v1"].latency) == {*map(float, LATENCY_MILLISECONDS), float("inf")}

        for _ in range(3):
            router.post(scoring_version="v1")
        counted(router, "v1", 8)
        after = read_counts(router.own(METRICS_QUERY)[1], VERSIONS)
        grown = growth(before, after)
        assert (grown["v1"].requests, grown["v1"].timed, grown["v2"].requests) == (3, 3, 0)
        assert growth(after, before) == before, "a router that counts less has started anew"


def test_a_slow_version_shows(tmp_path: Path) -> None:
    slow = Backend()
    slow.seconds = 0.3
    with contextlib.closing(slow), running(tmp_path, {"v1": slow.port}) as router:
        for _ in range(3):
            router.post(scoring_version="v1")
        counts = counted(router, "v1", 3)
    assert counts.slower_than(250) == 3
    assert counts.p99 is not None
    assert counts.p99 >= 250


async def test_the_page_is_short_and_read_as_it_is(tmp_path: Path) -> None:
    backend = Backend()
    with contextlib.closing(backend), running(tmp_path, {"v1": backend.port}) as router:
        router.post(scoring_version="v1")
        counted(router, "v1", 1)
        page = await read_page(f"http://127.0.0.1:{router.own_port}{METRICS_QUERY}")
        assert read_counts(page, VERSIONS)["v1"].requests == 1
        assert len(page) < len(router.own("/metrics")[1]) / 5
        with pytest.raises(OSError, match="HTTP 404"):
            await read_page(f"http://127.0.0.1:{router.own_port}/nowhere")
    with pytest.raises(OSError, match="Cannot connect"):
        await read_page(f"http://127.0.0.1:{router.own_port}{METRICS_QUERY}")
