"""Requests that find no pod, through a real Envoy: where a version sleeps, they wait for one.

| situation                                          | expected                                             |
|----------------------------------------------------|------------------------------------------------------|
| no pod, and one comes                              | the request is answered, with its whole body         |
| no pod comes                                       | 503 in the JSON of the pods, after the time to wait  |
| a service without versions that sleep              | 503 at once, as before                               |
| the operator asks for the router's numbers         | they tell that somebody called, and of which version |
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scoring_operator.autoscaling.wakeups import QUERY, calls
from scoring_operator.spec import Autoscaling
from tests.router.running import Answer, Backend, Router, port_of, reserved_port, scoring_service
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.process


def sleeping(hold: int = 2 * PATIENCE) -> dict[str, object]:
    return {"replicas": None, "autoscaling": Autoscaling(min_replicas=0, hold_seconds=hold)}


@contextmanager
def router_before(folder: Path, service: object, ports: dict[str, int]) -> Iterator[Router]:
    router = Router(folder, ports)
    try:
        yield router.start(service)  # type: ignore[arg-type]
    finally:
        router.stop()


def numbers(router: Router) -> dict[str, int]:
    status, text = router.own(f"/stats?{QUERY}")
    assert status == 200
    assert router.own(f"/stats?{QUERY}", "POST")[0] == 404
    return calls(text)


def test_a_request_waits_for_the_first_pod(tmp_path: Path) -> None:
    body = b"x" * 3_000_000
    service = scoring_service(sleeping())
    with closing(reserved_port()) as held, router_before(tmp_path, service, {"v1": port_of(held)}) as router:
        assert numbers(router).get("v1", 0) == 0
        answers: list[Answer] = []
        callers = [threading.Thread(target=lambda: answers.append(router.post(body))) for _ in range(5)]
        for caller in callers:
            caller.start()
        until(lambda: numbers(router)["v1"] > 20, "the router looks for a pod")
        assert answers == []
        held.close()
        pod = Backend(router._ends[0]["v1"])
        for caller in callers:
            caller.join(PATIENCE)
        assert [answer.status for answer in answers] == [200] * 5
        assert pod.bodies == {body: 5}
        pod.close()


def test_a_request_does_not_wait_for_ever(tmp_path: Path) -> None:
    service = scoring_service(sleeping(hold=1))
    with closing(reserved_port()) as held, router_before(tmp_path, service, {"v1": port_of(held)}) as router:
        answer = router.post()
        assert answer.status == 503
        assert answer.error["code"] == "NotReady"
        assert numbers(router)["v1"] > 3


def test_only_versions_that_sleep_let_requests_wait(tmp_path: Path) -> None:
    service = scoring_service({}, {"traffic": 0})
    with closing(reserved_port()) as held, router_before(tmp_path, service, {"v1": port_of(held)}) as router:
        assert router.post().status == 503
        assert router.own(f"/stats?{QUERY}")[0] == 404
        counted = calls(router.admin(f"/stats?{QUERY}"))
        assert counted["v1"] <= 8
        assert counted.get("v2", 0) == 0
