"""Addresses of stores: the same cases for each, here against small servers, in the slow tests against real ones.

case                                    expected
a file, a folder, odd names             the same content in the destination
nothing there                           ModelNotFound with the address
refused, no token                       ModelAccessDenied, which says what to put into the Secret; asked once
another checksum                        ModelChecksumMismatch and nothing placed
a transfer that breaks                  goes on where it broke
a store that is down for a moment       asked again; down for longer: ModelSourceUnavailable
nobody listens                          ModelSourceUnavailable
a disk that is too small                ModelTooLarge before a byte is read
"""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.fetch import az
from tests.runtime import emulators, model_stores
from tests.runtime.fetching import failure, run, set_environment
from tests.runtime.gate import Gate, gate_before
from tests.runtime.model_stores import Store

LARGE = random.Random(1).randbytes(500_000)
FILES = {"model.joblib": LARGE, "data/words and more.txt": b"words", "data/empty": b"", "größe.txt": b"x"}
FOLDER_SHA256 = hashlib.sha256(
    "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(FILES.items(), key=lambda pair: pair[0].encode())
    ).encode()
).hexdigest()
SMALL: dict[str, Any] = {
    "gs": model_stores.GoogleStorage,
    "az": model_stores.AzureBlobs,
    "hf": model_stores.ModelHub,
    "models": model_stores.ModelRegistry,
    "oci": model_stores.ContainerRegistry,
}
REAL: dict[str, Any] = {
    "fake-gcs-server": emulators.google_storage,
    "azurite": emulators.azurite,
    "mlflow": emulators.mlflow,
    "registry": emulators.registry,
}
WITHOUT_FILES = ("models", "mlflow", "oci", "registry")
SLOW = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(900)]
STORES = [*SMALL, *(pytest.param(name, marks=SLOW) for name in REAL)]
FILE_STORES = [name for name in STORES if getattr(name, "values", (name,))[0] not in WITHOUT_FILES]


@dataclass
class Place:
    """A store with a model in it, behind a gate."""

    store: Store
    gate: Gate

    def uri(self, path: str) -> str:
        return self.store.uri(path)

    @property
    def sha256(self) -> str:
        """The checksum of the folder iris/3; registries have their own."""
        return getattr(self.store, "sha256", FOLDER_SHA256)


@pytest.fixture(scope="module")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """Start real servers, each once."""
    with ExitStack() as servers:
        yield cache(lambda name: servers.enter_context(REAL[name](tmp_path_factory.mktemp("server"))))


@pytest.fixture(params=STORES)
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, real_store: Callable[[str], Store]
) -> Iterator[Place]:
    store = SMALL[request.param]() if request.param in SMALL else real_store(request.param)
    for name, content in FILES.items():
        store.put(f"iris/3/{name}", content)
    store.put("iris/33/other", b"of another folder")
    with gate_before(store.behind) as gate:
        set_environment(monkeypatch, store.environment(gate.base))
        monkeypatch.setattr(az, "BLOCK_BYTES", 200_000)
        yield Place(store, gate)


@pytest.mark.parametrize("place", FILE_STORES, indirect=True)
def test_a_file(place: Place, tmp_path: Path) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    assert run(place.uri("iris/3/model.joblib"), tmp_path, model_sha256=digest) == {"model.joblib": LARGE}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder(place: Place, tmp_path: Path, slash: str) -> None:
    assert run(place.uri(f"iris/3{slash}"), tmp_path, model_sha256=place.sha256) == FILES


@pytest.mark.parametrize("place", FILE_STORES, indirect=True)
def test_no_such_file(place: Place, tmp_path: Path) -> None:
    found = failure(place.uri("iris/3/model.pkl"), tmp_path)
    assert found.reason == "ModelNotFound"
    assert found.message.startswith(f"404 on {place.uri('iris/3/model.pkl')}; ")


@pytest.mark.parametrize("path", ["iris/4000/", "tulips/3/"])
def test_nothing_there(place: Place, tmp_path: Path, path: str) -> None:
    found = failure(place.uri(path), tmp_path)
    assert found.reason == "ModelNotFound"
    assert found.message.startswith(f"404 on {place.uri(path)}; ")


def test_refused(place: Place, tmp_path: Path) -> None:
    place.gate.denied = 403
    found = failure(place.uri("iris/3/"), tmp_path)
    assert found.reason == "ModelAccessDenied"
    assert found.message.startswith(f"403 on {place.uri('iris/3/')}; ")
    assert len(place.gate.asked) == 1


def test_another_checksum(place: Place, tmp_path: Path) -> None:
    found = failure(place.uri("iris/3/"), tmp_path, model_sha256="0" * 64)
    assert (found.reason, "0" * 64 in found.message) == ("ModelChecksumMismatch", True)


def test_a_broken_transfer_goes_on(place: Place, tmp_path: Path) -> None:
    place.gate.breaks = 3
    assert run(place.uri("iris/3/"), tmp_path, model_sha256=place.sha256) == FILES
    assert place.gate.breaks == 0
    assert any(asked.start > 0 for asked in place.gate.asked) == place.store.resumes


def test_a_store_that_is_down_for_a_moment(place: Place, tmp_path: Path) -> None:
    place.gate.failures = 3
    assert run(place.uri("iris/3/"), tmp_path) == FILES


def test_a_store_that_stays_down(place: Place, tmp_path: Path) -> None:
    place.gate.failures = 1000
    found = failure(place.uri("iris/3/"), tmp_path)
    assert found.reason == "ModelSourceUnavailable"
    assert f"503 on {place.uri('iris/3/')}" in found.message


def test_nobody_listens(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, place.store.environment("http://127.0.0.1:9"))
    found = failure(place.uri("iris/3/"), tmp_path)
    assert found.reason == "ModelSourceUnavailable"
    assert place.uri("iris/3/") in found.message


def test_a_disk_that_is_too_small(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(LARGE)))
    found = failure(place.uri("iris/3/"), tmp_path)
    assert (found.reason, "give the pod more ephemeral storage" in found.message) == ("ModelTooLarge", True)
