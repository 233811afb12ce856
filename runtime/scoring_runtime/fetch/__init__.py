"""Model addresses → a verified folder: the pods' init container, and `python -m scoring_runtime fetch` by hand.

One module for each scheme says what an address holds and reads it from any offset; retries, checksums, archives and
the placement are the same for all. To add a scheme, add a module and one line to `SCHEMES`.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from scoring_runtime import logs
from scoring_runtime.errors import (
    EXIT_FETCH,
    ModelLoadFailed,
    ModelTooLarge,
    SettingsInvalid,
    StartupError,
)
from scoring_runtime.fetch import az, file, gs, hf, http, mlflow, oci, pvc, s3
from scoring_runtime.fetch.archives import is_archive, unpack
from scoring_runtime.fetch.download import Retries, download
from scoring_runtime.fetch.layers import merged
from scoring_runtime.fetch.placement import Destination
from scoring_runtime.fetch.source import Listing, Source, shown
from scoring_runtime.process import termination
from scoring_runtime.settings import Settings

SCHEMES: dict[str, Callable[[str, Settings], Source]] = {
    "file": file.open_source,
    "pvc": pvc.open_source,
    "http": http.open_source,
    "https": http.open_source,
    "s3": s3.open_source,
    "gs": gs.open_source,
    "az": az.open_source,
    "abfs": az.open_source,
    "abfss": az.open_source,
    "hf": hf.open_source,
    "models": mlflow.open_source,
    "oci": oci.open_source,
}
_logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Fetch what the settings name; returns the exit status, and leaves a failure's reason in the termination log."""
    logs.configure(settings.log_level)
    try:
        fetch(settings)
    except StartupError as error:
        termination.report(error, settings.termination_log)
        return error.exit_code if isinstance(error, SettingsInvalid) else EXIT_FETCH
    return 0


def fetch(settings: Settings, retries: Retries = Retries()) -> None:  # noqa: B008 (it is frozen)
    """Copy SCORING_MODEL_URI into SCORING_MODEL_PATH, verify its sha256 and unpack it if it is an archive.

    Does nothing when a complete copy of the same address and checksum is there. Raises a StartupError that names the
    cause; the destination then holds nothing new.
    """
    uri = settings.model_uri
    if uri is None:
        raise SettingsInvalid("SCORING_MODEL_URI is not set; it says where the model is")
    source = _open(uri, settings)
    destination = Destination(settings.model_path)
    try:
        if destination.holds(uri, settings.model_sha256):
            _logger.info("the model is here already", extra={"uri": shown(uri)})
            return
        with destination.workspace() as workspace:
            content = workspace / "content"
            listing = download(source, content, settings.model_sha256, retries)
            destination.place(_unpacked(listing, content), uri, settings.model_sha256)
    except OSError as error:
        raise _as_startup_error(error, settings) from error
    _logger.info("the model is complete", extra={"uri": shown(uri), "path": str(settings.model_path)})


def _unpacked(listing: Listing, content: Path) -> Path:
    """Return the folder with what the fetched archives hold, or the files themselves."""
    if any(file.unpacks for file in listing.files):
        return merged(listing, content)
    name = listing.files[0].path
    if listing.is_folder or not is_archive(name):
        return content
    archive = (content / name).replace(content.with_name(name))
    content.rmdir()
    unpack(archive, content)
    archive.unlink()
    return content


def _open(uri: str, settings: Settings) -> Source:
    scheme = urlsplit(uri).scheme.lower()
    if scheme not in SCHEMES:
        known = ", ".join("models:/" if name == "models" else f"{name}://" for name in SCHEMES)
        raise SettingsInvalid(f"SCORING_MODEL_URI={shown(uri)!r}: it must start with one of {known}")
    return SCHEMES[scheme](uri, settings)


def _as_startup_error(error: OSError, settings: Settings) -> StartupError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ModelTooLarge(f"the disk under {settings.model_path} is full; give the pod more ephemeral storage")
    return ModelLoadFailed(f"cannot write the model to {settings.model_path}: {error.strerror or error}")
