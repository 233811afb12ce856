"""Fetching as a pod's init container does it, without its pauses: the files that come, or why none do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scoring_runtime.errors import StartupError
from scoring_runtime.fetch import fetch
from scoring_runtime.fetch.download import Retries
from scoring_runtime.scrub import Scrubber, secrets_of
from scoring_runtime.settings import Settings

AT_ONCE = Retries(attempts=4, first_pause_seconds=0)
_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "HF_", "MLFLOW_", "STORAGE_", "DOCKER_", "OCI_", "CA_CERTIFICATES")


class Failure(NamedTuple):
    reason: str
    message: str


def set_environment(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    """Let the environment say nothing of any store but `values`."""
    for name in list(os.environ):
        if name.startswith(_VARIABLES):
            monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def run(uri: str, to: Path, **values: Any) -> dict[str, bytes]:
    """Fetch an address into a folder; returns what is there then."""
    fetch(Settings(model_uri=uri, model_path=to, **values), AT_ONCE)
    return placed(to)


def placed(to: Path) -> dict[str, bytes]:
    """The files of a fetched model, without the fetch's own record."""
    return {
        path.relative_to(to).as_posix(): path.read_bytes()
        for path in to.rglob("*")
        if path.is_file() and not path.name.startswith(".scoring-fetch")
    }


def failure(uri: str, to: Path, **values: Any) -> Failure:
    """Fetch what cannot be: nothing is placed, and the message holds no secret."""
    with pytest.raises(StartupError) as raised:
        run(uri, to, **values)
    assert placed(to) == {}
    # Nothing of it would be hidden in the log: neither is there a secret, nor something that looks like one.
    assert Scrubber(secrets_of()).scrub(raised.value.message) == raised.value.message
    return Failure(raised.value.reason, raised.value.message)
