"""gRPC for several models: a call names its model in the first field of its message, and goes to that model's service.

Whatever names none of them is answered for the server as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from scoring_runtime.auth import Authenticator
from scoring_runtime.errors import NotFound
from scoring_runtime.protocols import GRPC_SERVICE, ServedModel
from scoring_runtime.rpc import messages
from scoring_runtime.rpc.listener import Rpc
from scoring_runtime.rpc.service import InferenceService
from scoring_runtime.rpc.wire import first_text

if TYPE_CHECKING:
    from scoring_runtime.repository.serving import Repository
    from scoring_runtime.web.recorder import Recorder

_OF_A_MODEL = frozenset({f"/{GRPC_SERVICE}/{name}" for name in ("ModelInfer", "ModelMetadata", "ModelReady")})


class RepositoryService:
    """Hands each call to the service that answers it; `methods` and `at_once` as there."""

    def __init__(self, services: Mapping[str, InferenceService], server: InferenceService) -> None:
        self._services = services
        self._server = server
        self.methods = server.methods
        self.at_once = dict.fromkeys(server.at_once, self)

    def __call__(self, rpc: Rpc) -> None:
        """Answer one call."""
        name = first_text(rpc.message) if rpc.method in _OF_A_MODEL else ""
        self._services.get(name, self._server)(rpc)


class ServerService(InferenceService):
    """Answers what is asked of the server. A model that is asked for here is none of the repository's."""

    def __init__(
        self, repository: Repository, gate: Authenticator, docs: Authenticator | None, recorder: Recorder
    ) -> None:
        first = repository.models[0]
        served = ServedModel(first.model_name, first.model_version)
        super().__init__(served, repository.servings[first.model_name], gate, docs, recorder)
        self._repository = repository

    def _infer(self, rpc: Rpc) -> bytes:
        self.check(rpc)
        self._unknown()

    def _model_metadata(self, rpc: Rpc) -> bytes:
        self.check_reader(rpc)
        self._unknown()

    def _model_ready(self, rpc: Rpc) -> bytes:
        self._unknown()

    def _server_ready(self, rpc: Rpc) -> bytes:
        return messages.encoded(messages.ServerReadyResponse(ready=self._repository.state == "ready"))

    def _unknown(self) -> NoReturn:
        raise NotFound(f"there is no model of that name here; this server has {', '.join(self._repository.servings)}")
