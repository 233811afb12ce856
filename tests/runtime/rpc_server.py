"""A gRPC server inside the test's process, and clients of it."""

from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton

from scoring_runtime.auth import authenticator
from scoring_runtime.collection.collector import Collector
from scoring_runtime.frameworks import Model
from scoring_runtime.logs import AccessLog
from scoring_runtime.metrics import Metrics
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.server import listen
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Tensors
from scoring_runtime.web.recorder import Recorder
from tests.runtime.conftest import free_port
from tests.runtime.models import Echo

INFER = "/inference.GRPCInferenceService/ModelInfer"


class Identity(Echo):
    """A model that answers with what it was given, with a name for each array."""

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        return Tensors(inputs.arrays, inputs.names or ("only",))


class Rpc:
    """A gRPC server of some model in this process, and its clients."""

    def __init__(
        self, model: Model, access_log: AccessLog | None = None, collector: Collector | None = None, **values: Any
    ) -> None:
        self.port = free_port()
        settings = Settings.model_validate({"auth": "none", "grpc_port": self.port, "model_name": "m", **values})
        self.metrics = Metrics()
        self.serving = Serving(limits_of(settings), self.metrics)
        self.serving.load(lambda: model)
        recorder = Recorder(self.metrics, access_log, (INFER,), collector)
        self._listener = listen(settings, self.serving, authenticator(settings), recorder)
        self.triton = triton.InferenceServerClient(f"127.0.0.1:{self.port}")
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.call = self.channel.unary_unary(INFER)

    def infer(self, request: Any, **options: Any) -> Any:
        return messages.ModelInferResponse.FromString(
            self.call(request.SerializeToString(), **{"timeout": 20, **options})
        )

    def error(self, request: Any, **options: Any) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as raised:
            self.infer(request, **options)
        return raised.value

    def refusal(self, request: Any) -> tuple[grpc.StatusCode, str]:
        error = self.error(request)
        return error.code(), error.details()

    def close(self) -> None:
        self.triton.close()
        self.channel.close()
        self._listener.stop()
        self.serving.close()
        self._listener.close()
