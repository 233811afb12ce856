"""pvc://claim/path: a path in a PersistentVolumeClaim, which the operator mounts read-only."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from scoring_runtime.errors import ModelNotFound, SettingsInvalid
from scoring_runtime.fetch.file import LocalSource
from scoring_runtime.settings import Settings


def open_source(uri: str, settings: Settings) -> LocalSource:
    """Open a pvc:// address; the claim itself is what is mounted at SCORING_PVC_ROOT."""
    parts = urlsplit(uri)
    segments = unquote(parts.path).split("/")
    if not parts.netloc or ".." in segments:
        raise SettingsInvalid(f"SCORING_MODEL_URI={uri!r}: write pvc://CLAIM/PATH, without ..")
    if not settings.pvc_root.is_dir():
        raise ModelNotFound(f"claim {parts.netloc} is not mounted at {settings.pvc_root}")
    return LocalSource(settings.pvc_root.joinpath(*filter(None, segments)), uri)
