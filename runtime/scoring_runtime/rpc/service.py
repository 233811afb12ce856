"""The methods of the protocol, and what every call gets: a request id, a status, a line in the log, a count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from scoring_runtime.auth import Authenticator
from scoring_runtime.collection.documents import GRPC
from scoring_runtime.collection.sample import BODY
from scoring_runtime.errors import MethodNotAllowed, RequestError, TimedOut, unexpected
from scoring_runtime.protocols import GRPC_INFER, GRPC_SERVICE, SERVER_VERSION, ServedModel
from scoring_runtime.protocols.v2tensors import metadata_of
from scoring_runtime.replies import Reply, json_reply
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.codec import check_model, decode, encode
from scoring_runtime.rpc.listener import Rpc
from scoring_runtime.rpc.statuses import code_of, trailers_of
from scoring_runtime.web.front import new_request_id, request_id_of
from scoring_runtime.web.recorder import REQUEST_ID, Recorder
from scoring_runtime.web.scoring import score_call

if TYPE_CHECKING:
    from scoring_runtime.serving import Serving

# Headers of an answer are at most 8 KiB together in most clients; a message may quote a long name.
_MAX_DETAILS = 1000
_logger = logging.getLogger(__name__)


class InferenceService:
    """Answers the calls of GRPCInferenceService.

    `docs` guards what tells about the model's inside; with None it is open. `methods` are all that there are, `at_once`
    those that wait for nothing.
    """

    def __init__(
        self,
        served: ServedModel,
        serving: Serving,
        gate: Authenticator,
        docs: Authenticator | None,
        recorder: Recorder,
    ) -> None:
        self._served = served
        self._serving = serving
        self._gate = gate
        self._docs = docs
        self._recorder = recorder
        self._methods: dict[str, Callable[[Rpc], bytes]] = {
            GRPC_INFER: self._infer,
            f"/{GRPC_SERVICE}/ModelMetadata": self._model_metadata,
            f"/{GRPC_SERVICE}/ModelReady": self._model_ready,
            f"/{GRPC_SERVICE}/ServerLive": self._server_live,
            f"/{GRPC_SERVICE}/ServerMetadata": self._server_metadata,
            f"/{GRPC_SERVICE}/ServerReady": self._server_ready,
        }
        self.methods = frozenset(self._methods)
        self.at_once = dict.fromkeys(
            [f"/{GRPC_SERVICE}/{name}" for name in ("ServerLive", "ServerReady", "ModelReady")], self
        )

    def __call__(self, rpc: Rpc) -> None:
        """Answer one call, whatever it is. It is recorded first: who has an answer finds it in the log."""
        started = time.perf_counter()
        request_id, message = "", b""
        refused: RequestError | None = None
        try:
            request_id = request_id_of(_environ(rpc))
            message = self._method(rpc.method)(rpc)
        except Exception as error:
            refused = error if isinstance(error, RequestError) else unexpected(error, "a call", _logger)
            request_id = request_id or new_request_id()
        self._record(rpc, request_id, message, started, refused)
        ids = ("x-request-id", request_id)
        if refused is None:
            rpc.answer(message, (ids,))
        else:
            rpc.refuse(code_of(refused), refused.message[:_MAX_DETAILS], (ids, *trailers_of(refused)))

    def _record(self, rpc: Rpc, request_id: str, message: bytes, started: float, refused: RequestError | None) -> None:
        if rpc.method in self.at_once and refused is None:
            # Probes ask every few seconds.
            return
        status, code = (200, "") if refused is None else (refused.status, refused.code)
        environ: dict[str, Any] = {"PATH_INFO": rpc.method, "REQUEST_METHOD": "POST", REQUEST_ID: request_id}
        seconds = time.perf_counter() - started
        self._recorder.done(environ, status, len(message), seconds, code)
        collector = self._recorder.collector
        if collector is not None and rpc.accepted:
            collector.begin(environ)
            if BODY in environ:
                environ |= {"CONTENT_TYPE": GRPC, BODY: [rpc.message]}
                collector.answered(environ, _as_reply(status, message, refused), seconds, request_id)

    def _method(self, name: str) -> Callable[[Rpc], bytes]:
        method = self._methods.get(name)
        if method is None:
            raise MethodNotAllowed(f"there is no method {name}; the service is {GRPC_SERVICE}")
        return method

    def _infer(self, rpc: Rpc) -> bytes:
        with self._serving.admission:
            self.check(rpc)
            call = decode(rpc.message, self._served, self._serving.loaded_model())
            seconds = rpc.seconds_left
            if rpc.closed or seconds <= 0:
                raise TimedOut("the client waits no more")
            return encode(score_call(self._serving, call, seconds), call, self._served)

    def check(self, rpc: Rpc) -> None:
        """Raise a RequestError unless the caller may score, and else note that."""
        self._gate.check(_text(rpc, "authorization"))
        rpc.accepted = True

    def check_reader(self, rpc: Rpc) -> None:
        """Raise a RequestError unless the caller may know the model's inside."""
        if self._docs is not None:
            self._docs.check(_text(rpc, "authorization"))

    def _model_metadata(self, rpc: Rpc) -> bytes:
        self.check_reader(rpc)
        asked = messages.parsed(messages.ModelMetadataRequest, rpc.message)
        check_model(self._served, asked.name, asked.version)
        model = self._serving.loaded_model()
        inputs, outputs = metadata_of(model)
        return messages.encoded(
            messages.ModelMetadataResponse(
                name=self._served.name,
                versions=[self._served.version],
                platform=model.platform,
                inputs=inputs,
                outputs=outputs,
            )
        )

    def _model_ready(self, rpc: Rpc) -> bytes:
        asked = messages.parsed(messages.ModelReadyRequest, rpc.message)
        check_model(self._served, asked.name, asked.version)
        return messages.encoded(messages.ModelReadyResponse(ready=self._serving.state == "ready"))

    def _server_live(self, rpc: Rpc) -> bytes:
        return messages.encoded(messages.ServerLiveResponse(live=True))

    def _server_metadata(self, rpc: Rpc) -> bytes:
        return messages.encoded(messages.ServerMetadataResponse(name="scoring-runtime", version=SERVER_VERSION))

    def _server_ready(self, rpc: Rpc) -> bytes:
        return messages.encoded(messages.ServerReadyResponse(ready=self._serving.state == "ready"))


def _as_reply(status: int, message: bytes, refused: RequestError | None) -> Reply:
    """Return an answer as HTTP has it, for the record: errors as V2 writes them."""
    if refused is None:
        return Reply(status, [("Content-Type", GRPC)], message)
    return json_reply(orjson.dumps({"error": refused.message}), status)


def _environ(rpc: Rpc) -> Any:
    """Return the call's own ids as WSGI has them."""
    names = {"HTTP_X_REQUEST_ID": "x-request-id", "HTTP_X_MS_CLIENT_REQUEST_ID": "x-ms-client-request-id"}
    return {name: _text(rpc, key) for name, key in names.items()}


def _text(rpc: Rpc, key: str) -> str | None:
    value = rpc.metadata.get(key)
    return value.decode("latin-1") if isinstance(value, bytes) else value
