"""Starts the gRPC server beside the HTTP one: same model, same queue, same credentials, same counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scoring_runtime.auth import Authenticator
from scoring_runtime.protocols import GRPC_INFER, ServedModel
from scoring_runtime.repository.recorder import RepositoryRecorder
from scoring_runtime.repository.serving import Repository
from scoring_runtime.rpc.health import HealthService
from scoring_runtime.rpc.listener import RpcLimits, RpcListener
from scoring_runtime.rpc.repository import RepositoryService, ServerService
from scoring_runtime.rpc.service import InferenceService
from scoring_runtime.serving import Serving, limits_of
from scoring_runtime.settings import Settings
from scoring_runtime.web.recorder import Recorder

if TYPE_CHECKING:
    from scoring_runtime.tracing.spans import Tracing

# Threads beyond those that requests to score can hold: for metadata and quick refusals.
_SPARE_THREADS = 8
# Calls whose message is still on its way hold no thread, only memory.
_RECEIVING_PER_REQUEST = 4


def listen(
    settings: Settings,
    serving: Serving | Repository,
    gate: Authenticator,
    recorder: Recorder,
    tracing: Tracing | None = None,
) -> RpcListener:
    """Serve gRPC on the settings' address from now on; `recorder` is that of the requests over HTTP.

    Raises SettingsInvalid when the port cannot be had.
    """
    service: InferenceService | RepositoryService
    if isinstance(serving, Repository):
        service = _service_of_several(settings, serving, gate, recorder)
    else:
        own = recorder.counting((GRPC_INFER,))
        service = InferenceService(_served(settings), serving, gate, _docs(settings, gate), own)
    health = HealthService(lambda: serving.state == "ready")
    requests = limits_of(settings).max_requests
    limits = RpcLimits(
        threads=requests + _SPARE_THREADS,
        max_message=settings.max_body_bytes,
        receive_seconds=settings.body_timeout_seconds,
        max_receiving=_RECEIVING_PER_REQUEST * requests,
        shared=settings.processes > 1,
    )
    handle = service if tracing is None else tracing.traced_calls(service, service.methods)
    return RpcListener(handle, {**service.at_once, **health.at_once}, health.tick, address(settings), limits)


def _service_of_several(
    settings: Settings, repository: Repository, gate: Authenticator, recorder: Recorder
) -> RepositoryService:
    assert isinstance(recorder, RepositoryRecorder)
    docs = _docs(settings, gate)
    services = {}
    for one in repository.models:
        name = one.model_name
        own = recorder.of_model(name, (GRPC_INFER,))
        services[name] = InferenceService(_served(one), repository.servings[name], gate, docs, own)
    return RepositoryService(services, ServerService(repository, gate, docs, recorder))


def _served(settings: Settings) -> ServedModel:
    return ServedModel(settings.model_name, settings.model_version)


def _docs(settings: Settings, gate: Authenticator) -> Authenticator | None:
    return gate if settings.docs_auth == "required" else None


def address(settings: Settings) -> str:
    """Return the address as gRPC's core writes it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.grpc_port}"
