"""Requests through a real Envoy that has the operator's files.

| situation                                  | expected                                                       |
|--------------------------------------------|----------------------------------------------------------------|
| 70/20/10 over thousands of requests        | each version within eight standard deviations                  |
| a sticky header                            | a caller stays with one version; shares hold over the callers  |
| a version named in either header           | that version and no other; an unknown name is a 404            |
| a mirror, also one that hangs              | gets its percentage; nobody waits for it                       |
| files replaced while requests come         | no request fails; the new shares hold                          |
| a version taken out with a request at it   | the request is answered                                        |
| several pods, some at work                 | the one with nothing at hand gets the request                  |
| a pod that is gone                         | the request goes to the version's Service                      |
| body too large, queues full, no pod        | 413, 503 in the JSON of the pods                               |
| the router ends                            | callers are sent elsewhere; the request at hand is answered    |
| access log                                 | JSON; neither key nor query                                    |
| Envoy's own interface                      | only its metrics and health can be reached                     |
"""

import json
import math
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scoring_operator.envoy import DRAIN_FILE
from scoring_operator.envoy.routes import VERSION_HEADERS
from scoring_operator.traffic import Live, plan_traffic
from tests.router.running import PATIENT, Backend, Ports, Router, scoring_service, send
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.process

SPLIT = scoring_service({}, {"traffic": 20}, {"traffic": 10})
Start = Callable[..., Router]


@pytest.fixture
def backends() -> Iterator[dict[str, Backend]]:
    found = {name: Backend() for name in ("v1", "v2", "v3")}
    yield found
    for backend in found.values():
        backend.close()


@pytest.fixture
def start(backends: dict[str, Backend], tmp_path: Path) -> Iterator[Start]:
    routers: list[Router] = []

    def begin(service: Any, pods: Ports | None = None, services: Ports | None = None) -> Router:
        ports = {name: backend.port for name, backend in backends.items()}
        folder = tmp_path / str(len(routers))
        folder.mkdir()
        routers.append(Router(folder, ports if pods is None else pods, services))
        return routers[-1].start(service)

    yield begin
    for router in routers:
        router.stop()


def answers(router: Router, count: int, **headers: str) -> Counter[str]:
    """The versions that answer `count` requests on one connection; all must be answered."""
    found: Counter[str] = Counter()
    with router.connection() as connection:
        for _ in range(count):
            response = send(connection, **headers)
            assert response.status == 200
            found[response.headers["scoring-version"]] += 1
            assert response.headers["azureml-model-deployment"] == response.headers["scoring-version"]
    return found


@contextmanager
def held(router: Router, backend: Backend, version: str, count: int = 1) -> Iterator[None]:
    """Keep requests to a version with its pod while the block runs; all are answered after it."""
    backend.free.clear()
    found: list[int] = []

    def ask() -> None:
        found.append(router.post(scoring_version=version).status)

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(count)]
    for caller in callers:
        caller.start()
    for _ in callers:
        assert backend.entered.acquire(timeout=PATIENCE)
    yield
    backend.free.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert found == [200] * count


def slack(count: int, share: float) -> float:
    """Eight standard deviations of what a version with this share gets: chance exceeds it once in 10¹⁵ times."""
    return 8 * math.sqrt(count * share * (1 - share))


def test_shares_are_kept(start: Start, backends: dict[str, Backend]) -> None:
    router, count = start(SPLIT), 1500
    found = answers(router, count)
    for name, share in {"v1": 0.7, "v2": 0.2, "v3": 0.1}.items():
        assert abs(found[name] - count * share) <= slack(count, share)
        assert backends[name].count == found[name]


def test_a_caller_stays_with_one_version(start: Start) -> None:
    """And the shares hold over the callers; another router decides the same; a share that grows takes nobody else."""
    sticky = {"sticky_header": "X-User-Id"}
    service, users = scoring_service({}, {"traffic": 20}, {"traffic": 10}, **sticky), range(1000)
    router = start(service)
    found = versions_of(router, users)
    counts = Counter(found.values())
    for name, share in {"v1": 0.7, "v2": 0.2, "v3": 0.1}.items():
        assert abs(counts[name] - len(users) * share) <= slack(len(users), share)
    assert versions_of(router, users) == versions_of(start(service), users) == found
    assert answers(router, 30, x_user_id="1", scoring_version="v3") == {"v3": 30}
    # That one of three gets none of 200 happens once in 10⁹ times.
    assert set(answers(router, 200)) == {"v1", "v2", "v3"}, "without the header, chance decides"

    router.change(scoring_service({}, {"traffic": 50}, {"traffic": 10}, **sticky))
    later = versions_of(router, users)
    assert {user for user in users if found[user] == "v2"} <= {user for user in users if later[user] == "v2"}
    assert {user for user in users if found[user] == "v3"} == {user for user in users if later[user] == "v3"}


def versions_of(router: Router, users: Iterable[int]) -> dict[int, str]:
    """User → the version that answers when the user calls."""
    with router.connection() as connection:
        return {user: send(connection, x_user_id=str(user)).headers["scoring-version"] for user in users}


@pytest.mark.parametrize("header", VERSION_HEADERS)
def test_a_named_version_answers(start: Start, header: str) -> None:
    router = start(SPLIT)
    assert answers(router, 50, **{header: "v3"}) == {"v3": 50}
    response = router.post(**{header: "v4"})
    assert response.status == 404
    assert response.headers["content-type"] == "application/json"
    assert "write v1 or v2 or v3" in response.error["message"]


def test_a_mirror_gets_its_percentage_of_what_is_asked(start: Start, backends: dict[str, Backend]) -> None:
    router, count = start(scoring_service({}, {"mirror": 20})), 1000
    assert answers(router, count) == {"v1": count}
    until(lambda: "upstream_rq_active: 0" in router.admin("/stats?filter=cluster.v2.upstream_rq_active"))
    assert abs(backends["v2"].count - count * 0.2) <= slack(count, 0.2)
    assert set(backends["v2"].bodies) == {b"{}"}


def test_a_mirror_that_hangs_holds_nobody_up(start: Start, backends: dict[str, Backend]) -> None:
    backends["v2"].free.clear()
    router = start(scoring_service({}, {"mirror": 100}))
    assert answers(router, 30) == {"v1": 30}
    for _ in range(30):
        assert backends["v2"].entered.acquire(timeout=PATIENCE), "each request was copied"


def test_shares_change_under_requests_without_losing_one(start: Start) -> None:
    router = start(SPLIT)
    halves = scoring_service({}, {"traffic": 50}, {"traffic": 0})
    over, failures = threading.Event(), []

    def ask() -> None:
        with router.connection() as connection:
            while not over.is_set():
                response = send(connection)
                if response.status != 200:
                    failures.append(response.status)

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    for service in [halves, SPLIT] * 5:
        router.change(service)
    promoted = scoring_service({"default": False}, {"default": True}, {})
    router.change(promoted)
    over.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert failures == []
    assert answers(router, 100) == {"v2": 100}


def test_a_request_survives_that_its_version_is_taken_out(start: Start, backends: dict[str, Backend]) -> None:
    router = start(SPLIT)
    with held(router, backends["v3"], "v3"):
        router.change(scoring_service({}, {"traffic": 20}))
        until(lambda: "v3::" not in router.admin("/clusters"), "the cluster is gone")
        assert router.post(scoring_version="v3").status == 404


def test_a_version_that_grows_loses_no_request_at_it(start: Start, backends: dict[str, Backend]) -> None:
    """The queue limits of a version follow its replicas: Envoy makes a new cluster of the same name."""
    router = start(SPLIT)
    with held(router, backends["v1"], "v1"):
        router.change(scoring_service({"replicas": 3}, {"traffic": 20}, {"traffic": 10}))
    assert answers(router, 20, scoring_version="v1") == {"v1": 20}


def test_a_version_without_ready_pods_gets_nothing(start: Start, backends: dict[str, Backend]) -> None:
    router = start(SPLIT)
    router.change(SPLIT, plan_traffic(SPLIT.versions, Live(ready=["v1", "v3"], router_ready=True)))
    found = answers(router, 100)
    assert found["v2"] == backends["v2"].count == 0


def test_what_no_pod_took_goes_to_the_service(start: Start, backends: dict[str, Backend]) -> None:
    """The addresses of pods that a DNS server tells may be old; the version's Service knows better."""
    router = start(scoring_service({}, {}), pods={}, services={"v1": backends["v1"].port})
    assert answers(router, 50) == {"v1": 50}
    response = router.post(scoring_version="v2")
    assert response.status == 503
    assert response.error["code"] == "NotReady"


def test_a_request_goes_to_the_pod_with_the_fewest_at_hand(start: Start, backends: dict[str, Backend]) -> None:
    pods = [backend.port for backend in backends.values()]
    router = start(scoring_service({}, {}), pods={"v1": pods})
    for backend in backends.values():
        backend.free.clear()
    callers = [threading.Thread(target=router.post) for _ in range(2)]
    for number, caller in enumerate(callers, start=1):
        caller.start()
        until(lambda number=number: sum(backend.count for backend in backends.values()) == number)
    assert max(backend.count for backend in backends.values()) == 1
    (idle,) = (backend for backend in backends.values() if backend.count == 0)
    idle.free.set()
    answers(router, 50)
    assert idle.count == 50
    for backend in backends.values():
        backend.free.set()
    for caller in callers:
        caller.join(PATIENCE)


def test_what_may_have_been_worked_on_is_not_sent_again(start: Start, backends: dict[str, Backend]) -> None:
    backend = backends["v1"]
    router = start(scoring_service({}, {}), services={"v1": backends["v2"].port})
    original = backend.server.RequestHandlerClass

    class Dies(original):  # type: ignore[misc,valid-type]
        def do_POST(self) -> None:
            backend.entered.release()
            self.close_connection = True

    backend.server.RequestHandlerClass = Dies
    response = router.post()
    assert response.status == 502
    assert response.error["code"] == "ModelFailed"
    assert backend.entered.acquire(blocking=False)
    assert not backend.entered.acquire(blocking=False)
    assert backends["v2"].count == 0


def test_a_body_that_is_too_large_is_refused_at_once(start: Start, backends: dict[str, Backend]) -> None:
    settings = {"request_settings": replace(PATIENT, max_body_bytes=1000)}
    router = start(scoring_service(settings, {**settings, "traffic": 50}))
    assert router.post(b"x" * 1000).status == 200
    response = router.post(b"x" * 1001)
    assert response.status == 413
    assert "1000 bytes" in response.error["message"]
    assert backends["v1"].count + backends["v2"].count == 1


def test_full_queues_are_full_at_the_router_too(start: Start, backends: dict[str, Backend]) -> None:
    router = start(scoring_service({"request_settings": replace(PATIENT, max_concurrent=1)}, {}))
    with held(router, backends["v1"], "v1", count=241):
        response = router.post()
    assert response.status == 503
    assert response.error["code"] == "Overloaded"


def test_the_router_ends_when_its_last_request_has(start: Start, backends: dict[str, Backend]) -> None:
    router = start(SPLIT)
    with held(router, backends["v3"], "v3"):
        script = (router.folder / DRAIN_FILE).read_text()
        assert "sleep 5\n" in script
        draining = subprocess.Popen(["bash", "-c", script.replace("sleep 5\n", "")])
        until(lambda: router.own("/readyz")[0] == 503, "kubelet hears that the router leaves")
        response = router.post(scoring_version="v1")
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert draining.poll() is None, "a request is at hand"
    assert draining.wait(PATIENCE) == 0


def test_the_access_log_keeps_secrets_to_itself(start: Start) -> None:
    router = start(SPLIT)
    router.post(
        path="/score?key=secret-in-query",
        authorization="Bearer secret-in-header",
        x_request_id="request-1",
        scoring_version="v2",
    )
    # Envoy writes its log every ten seconds, and at its end.
    router.stop()
    (line,) = router.log.read_text().splitlines()
    entry = json.loads(line)
    assert "secret" not in line
    assert (entry["method"], entry["path"], entry["status"], entry["version"]) == ("POST", "/score", 200, "v2")
    assert entry["request_id"] == "request-1"


def test_headers_of_callers_arrive(start: Start, backends: dict[str, Backend]) -> None:
    router = start(SPLIT)
    identity = "123e4567-e89b-12d3-a456-426614174000"
    router.post(authorization="Bearer key", x_request_id=identity, scoring_version="v1", x_envoy_max_retries="9")
    (headers,) = backends["v1"].headers
    got = {name.lower(): value for name, value in headers.items()}
    assert (got["authorization"], got["x-request-id"]) == ("Bearer key", identity)
    assert "x-envoy-max-retries" not in got


def test_only_metrics_and_health_of_envoy_can_be_reached(start: Start) -> None:
    router = start(SPLIT)
    answers(router, 20)
    status, text = router.own("/metrics")
    assert status == 200
    assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="v1"}' in text
    assert router.own("/healthz")[0] == 200
    for path in ("/config_dump", "/quitquitquit", "/metrics/../quitquitquit", "/stats", "/"):
        assert router.own(path)[0] == 404
    assert router.own("/metrics", "POST")[0] == 404
    assert router.own("/metrics?/quitquitquit", "GET")[1].startswith("#")
