"""Starts data collection as the settings say."""

from __future__ import annotations

import re
import socket
import uuid

from scoring_runtime import logs
from scoring_runtime.collection.collector import Collector, Limits
from scoring_runtime.collection.lines import Lines
from scoring_runtime.collection.storage import Folder
from scoring_runtime.protocols import GRPC_INFER, ServedModel, protocol_of, routes_of
from scoring_runtime.settings import Settings


def folder_of(settings: Settings) -> Folder:
    """Return where the settings want collected data. Raises SettingsInvalid or FrameworkMissing."""
    return Folder(settings.data_collection_uri, settings.data_collection_credentials_dir)


def start_collection(settings: Settings, limits: Limits = Limits()) -> Collector:  # noqa: B008 (it is frozen)
    """Return what collects, and has begun to; to be called in the process that serves. Raises as `folder_of` does."""
    folder = folder_of(settings)
    logs.hide(folder.secrets)
    served = ServedModel(settings.model_name, settings.model_version)
    paths = [route.path for route in routes_of(served).scoring] + [GRPC_INFER]
    protocols = {path: protocol_of(path) for path in paths}
    lines = Lines(served, protocols, settings.framework == "script", logs.scrubbed_requests)
    return Collector(lines, folder, settings.data_collection_sampling_percent, _source(), limits)


def _source() -> str:
    """Return a name that no other process has, not even the one before it in the same pod."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:63]
    return f"{host}-{uuid.uuid4().hex[:6]}"
