"""Several models over gRPC: model_name chooses; what names none is answered for the server, and counted for none."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from scoring_runtime.auth import authenticator
from scoring_runtime.repository.recorder import RepositoryRecorder
from scoring_runtime.repository.serving import Repository
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.server import listen
from scoring_runtime.rpc.wire import first_text
from scoring_runtime.serving import limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Tensors
from tests.runtime.conftest import free_port
from tests.runtime.rpc_server import INFER, Identity
from tests.waiting import PATIENCE

KEY = "a-key-of-sixteen-characters"


class Negated(Identity):
    def predict(self, inputs: Tensors, method: str) -> Tensors:
        return Tensors(tuple(-array for array in inputs.arrays), ("negated",))


class Rpc:
    def __init__(self, keys: Path) -> None:
        port = free_port()
        settings = Settings.model_validate({"keys_dir": keys, "grpc_port": port})
        models = {"same": Identity(), "negated": Negated()}
        named = [settings.model_copy(update={"model_name": name}) for name in models]
        self.models = Repository(limits_of(settings), named)
        self.metrics = self.models.metrics
        self.logged: list[dict[str, object]] = []
        self.verbose = False
        recorder = RepositoryRecorder(self.metrics, self, {})  # type: ignore[arg-type]
        self._listener = listen(settings, self.models, authenticator(settings), recorder)
        self.triton = triton.InferenceServerClient(f"127.0.0.1:{port}")
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.call = self._channel.unary_unary(INFER)
        assert not self.triton.is_server_ready()
        self.models.load(lambda one: models[one.model_name], lambda one: Path("none"))

    def request(self, fields: dict[str, object]) -> None:
        self.logged.append(fields)

    def infer(self, name: str, authorization: str = f"Bearer {KEY}") -> np.ndarray:
        rows = triton.InferInput("x", [1, 2], "FP32")
        rows.set_data_from_numpy(np.array([[1, 2]], np.float32))
        answer = self.triton.infer(name, [rows], headers={"authorization": authorization})
        assert answer.get_response().model_name == name
        return answer.as_numpy(answer.get_response().outputs[0].name)

    def close(self) -> None:
        self.triton.close()
        self._channel.close()
        self._listener.stop()
        self._listener.close()
        self.models.close()


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[Rpc]:
    for name in ("primary", "secondary"):
        (tmp_path / name).write_text(KEY)
    made = Rpc(tmp_path)
    yield made
    made.close()


def test_the_name_chooses(rpc: Rpc) -> None:
    assert rpc.infer("same").tolist() == [[1, 2]]
    assert rpc.infer("negated").tolist() == [[-1, -2]]
    assert rpc.triton.is_server_ready()
    assert rpc.triton.is_model_ready("negated")
    metadata = rpc.triton.get_model_metadata("negated", headers={"authorization": f"Bearer {KEY}"})
    assert (metadata.name, metadata.platform) == ("negated", "test")
    assert [line["model"] for line in rpc.logged if line["path"] == INFER] == ["same", "negated"]
    exposition = rpc.metrics.exposition().decode()
    for name in ("same", "negated"):
        assert f'scoring_requests_total{{code="200",model="{name}",protocol="grpc"}} 1.0' in exposition


def test_a_name_that_is_none(rpc: Rpc) -> None:
    for ask in (lambda: rpc.infer("other"), lambda: rpc.triton.is_model_ready("other")):
        with pytest.raises(InferenceServerException, match="no model of that name here; this server has same, negated"):
            ask()
    with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
        rpc.infer("other", "")
    with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
        rpc.triton.get_model_metadata("other")
    assert "requests_total{" not in rpc.metrics.exposition().decode()


@pytest.mark.parametrize("message", [b"", b"\x0a", b"\x0a\x05same", b"\x0a\x02\xff\xfe", b"\x12\x04same", b"\xff" * 20])
def test_messages_without_a_name(rpc: Rpc, message: bytes) -> None:
    assert first_text(message) == ""
    with pytest.raises(grpc.RpcError) as refused:
        rpc.call(message, timeout=PATIENCE, metadata=[("authorization", f"Bearer {KEY}")])
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_message_with_two_names_is_for_none(rpc: Rpc) -> None:
    both = messages.ModelInferRequest(model_name="same").SerializeToString()
    both += messages.ModelInferRequest(model_name="negated").SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        rpc.call(both, timeout=PATIENCE, metadata=[("authorization", f"Bearer {KEY}")])
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
