"""Starts data collection as the settings say."""

from __future__ import annotations

import re
import socket
import uuid
from typing import Any

from scoring_runtime import logs
from scoring_runtime.collection.collector import Collector, Limits
from scoring_runtime.collection.lines import Lines
from scoring_runtime.collection.records import Records
from scoring_runtime.collection.storage import Folder
from scoring_runtime.errors import FrameworkMissing
from scoring_runtime.protocols import GRPC_INFER, ServedModel, protocol_of, routes_of
from scoring_runtime.settings import Settings


def folder_of(settings: Settings) -> Folder:
    """Return where the settings want collected data. Raises SettingsInvalid or FrameworkMissing."""
    return Folder(settings.data_collection_uri, settings.data_collection_credentials_dir)


def form_of(settings: Settings) -> type[Records[Any]]:
    """Return what writes records in the form that the settings want. Raises FrameworkMissing."""
    if settings.data_collection_format == "jsonl":
        return Lines
    try:
        # A tenth of a second and 35 MB, which other pods need not pay.
        from scoring_runtime.collection.parquet import Tables
    except ImportError as error:
        built_with = f'--build-arg FRAMEWORKS="{settings.framework or "sklearn"} parquet"'
        raise FrameworkMissing(
            f"SCORING_DATA_COLLECTION_FORMAT: parquet needs the Python package pyarrow, which this image does not have "
            f"({error}); name an image that was built with {built_with}, or write jsonl"
        ) from None
    return Tables


def start_collection(settings: Settings, limits: Limits = Limits()) -> Collector:  # noqa: B008 (it is frozen)
    """Return what collects, and has begun to; to be called in the process that serves. Raises as the two above."""
    form, folder = form_of(settings), folder_of(settings)
    logs.hide(folder.secrets)
    served = ServedModel(settings.model_name, settings.model_version)
    paths = [route.path for route in routes_of(served).scoring] + [GRPC_INFER]
    protocols = {path: protocol_of(path) for path in paths}
    records = form(served, protocols, settings.framework == "script", logs.scrubbed_requests)
    return Collector(records, folder, settings.data_collection_sampling_percent, _source(), limits)


def _source() -> str:
    """Return a name that no other process has, not even the one before it in the same pod."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:63]
    return f"{host}-{uuid.uuid4().hex[:6]}"
