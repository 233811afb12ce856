"""gRPC through a real Envoy: split, picked, mirrored, refused and counted as HTTP is."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from scoring_operator.rollout import Counts
from scoring_operator.router_metrics import METRICS_QUERY, read_counts
from tests.router.running import Router, scoring_service
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.process

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class Model(grpc.GenericRpcHandler):
    """Answers every call with its version's name, and counts."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.calls = 0
        self.status: grpc.StatusCode | None = None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        if self.status is not None:
            context.abort(self.status, "as the test wants it")
        return self.version.encode()


@pytest.fixture
def models() -> Iterator[tuple[dict[str, Model], dict[str, int]]]:
    """Models by version, and the ports that they listen on by cluster."""
    found, ports, servers = {}, {}, []
    for version in ("v1", "v2", "v3"):
        server = grpc.server(ThreadPoolExecutor(2))
        found[version] = Model(version)
        server.add_generic_rpc_handlers((found[version],))
        ports[f"{version}-grpc"] = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
    yield found, ports
    for server in servers:
        server.stop(None).wait(PATIENCE)


@pytest.fixture
def router(models: tuple[dict[str, Model], dict[str, int]], tmp_path: Path) -> Iterator[Router]:
    split = scoring_service({}, {"traffic": 50}, {"mirror": 100}, grpc=True)
    running = Router(tmp_path, models[1]).start(split)
    yield running
    running.stop()


def test_calls_are_split_picked_mirrored_and_refused(
    router: Router, models: tuple[dict[str, Model], dict[str, int]]
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{router.grpc_port}") as channel:
        call = channel.unary_unary(METHOD)
        # That one of two gets none of 200 happens once in 10⁶⁰ times.
        found = Counter(call(b"x", timeout=PATIENCE) for _ in range(200))
        assert set(found) == {b"v1", b"v2"}
        until(lambda: models[0]["v3"].calls == 200, "each call was copied")
        picked = [call(b"x", timeout=PATIENCE, metadata=[("scoring-version", "v2")]) for _ in range(20)]
        assert set(picked) == {b"v2"}
        with pytest.raises(grpc.RpcError) as refused:
            call(b"x", timeout=PATIENCE, metadata=[("scoring-version", "v9")])
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED  # what gRPC makes of 404
        assert "write v1 or v2 or v3" in refused.value.details()


def test_calls_that_fail_are_counted_by_their_own_status(
    router: Router, models: tuple[dict[str, Model], dict[str, int]]
) -> None:
    statuses = (None, grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE)
    with grpc.insecure_channel(f"127.0.0.1:{router.grpc_port}") as channel:
        for status in statuses:
            models[0]["v1"].status = status
            with contextlib.suppress(grpc.RpcError):
                channel.unary_unary(METHOD)(b"x", timeout=PATIENCE, metadata=[("scoring-version", "v1")])

    def counts() -> Counts:
        return read_counts(router.own(METRICS_QUERY)[1], ["v1", "v2", "v3"]).get("v1", Counts())

    until(lambda: counts().requests == len(statuses), "every call is counted")
    until(lambda: counts().errors == 2, "the two that are the model's fault count as errors")
    until(lambda: counts().timed == len(statuses), "their durations are counted")
