"""model-repository.json: what it may say, and a sentence with the place for everything that it may not."""

import json
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.errors import ModelInvalid, ModelNotFound, StartupError
from scoring_runtime.repository.manifest import MANIFEST, read_manifest
from scoring_runtime.settings import Settings

IRIS = {"name": "iris"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "iris").mkdir()
    (tmp_path / "deep" / "faq").mkdir(parents=True)
    (tmp_path / "deep" / "faq" / "model.onnx").touch()
    return tmp_path


def read(folder: Path, manifest: Any, **values: Any) -> tuple[Settings, ...]:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (folder / MANIFEST).write_text(text)
    return read_manifest(Settings.model_validate({"framework": "sklearn", "model_path": folder, **values}))


def test_a_folder_without_one_holds_one_model(folder: Path) -> None:
    assert read_manifest(Settings(framework="sklearn", model_path=folder)) == ()
    assert read_manifest(Settings(framework="sklearn", model_path=folder / "none")) == ()


def test_a_script_is_one_model_whatever_lies_beside_it(folder: Path) -> None:
    assert read(folder, "not even JSON", framework="script") == ()


def test_what_is_not_said_is_as_the_settings_have_it(folder: Path) -> None:
    entries = [
        IRIS,
        {
            "name": "faq",
            "path": "deep/faq/model.onnx",
            "framework": "onnx",
            "version": "8",
            "device": "cpu",
            "precision": "bfloat16",
            "batching": {"maxSize": 64, "maxDelayMilliseconds": 3},
            "trustedTypes": ["a.B"],
        },
    ]
    settings: dict[str, Any] = {"model_version": "v1", "batch_max_size": 16, "max_concurrent": 4, "auth": "none"}
    iris, faq = read(folder, {"models": entries}, **settings)
    base = Settings.model_validate({"framework": "sklearn", **settings})
    assert iris == base.model_copy(update={"model_name": "iris", "model_path": folder / "iris"})
    own = {
        "model_name": "faq",
        "model_path": folder / "deep/faq/model.onnx",
        "framework": "onnx",
        "model_version": "8",
        "device": "cpu",
        "precision": "bfloat16",
        "batch_max_size": 64,
        "batch_max_delay_milliseconds": 3,
        "trusted_types": ("a.B",),
    }
    assert faq == base.model_copy(update=own)


@pytest.mark.parametrize(
    ("manifest", "error", "said"),
    [
        ("", ModelInvalid, "model-repository.json: invalid JSON: EOF while parsing"),
        ("[]", ModelInvalid, "model-repository.json: input should be an object"),
        ({}, ModelInvalid, "model-repository.json: models: field required"),
        ({"models": []}, ModelInvalid, "models: tuple should have at least 1 item"),
        ({"models": [{"path": "iris"}]}, ModelInvalid, "models[0].name: field required"),
        ({"models": [IRIS | {"paht": "x"}]}, ModelInvalid, "models[0].paht: there is no such field; see docs/"),
        ({"model": [IRIS]}, ModelInvalid, "model: there is no such field; see docs/"),
        ({"models": [{"name": 3}]}, ModelInvalid, "models[0].name: input should be a valid string"),
        ({"models": [IRIS | {"name": "a/b"}]}, ModelInvalid, "models[0].name: it is part of paths: write it with"),
        ({"models": [IRIS | {"version": ""}]}, ModelInvalid, "models[0].version: it is part of paths: write it"),
        ({"models": [IRIS, IRIS]}, ModelInvalid, "two models are called iris; each needs a name of its own"),
        ({"models": [IRIS | {"framework": "caffe"}]}, ModelInvalid, "models[0].framework: input should be 'sklearn'"),
        ({"models": [IRIS | {"framework": "script"}]}, ModelInvalid, "models[0]: an entry script cannot be one of"),
        ({"models": [IRIS | {"device": "tpu"}]}, ModelInvalid, "models[0].device: input should be 'cpu'"),
        ({"models": [IRIS | {"batching": {"maxSize": 0}}]}, ModelInvalid, "models[0].batching.maxSize: input should"),
        ({"models": [IRIS | {"batching": {"maxSize": "4"}}]}, ModelInvalid, "models[0].batching.maxSize: input should"),
        ({"models": [IRIS | {"path": "../iris"}]}, ModelInvalid, "models[0].path: ../iris leads out of the model's"),
        ({"models": [IRIS | {"path": "/etc"}]}, ModelInvalid, "models[0].path: /etc leads out of the model's folder"),
        ({"models": [IRIS | {"path": "."}]}, ModelInvalid, "models[0].path: . leads out of the model's folder"),
        ({"models": [IRIS | {"path": "a\0b"}]}, ModelInvalid, "models[0].path: 'a\\x00b' cannot be a path: embedded"),
        ({"models": [IRIS | {"path": "x" * 5000}]}, ModelInvalid, "xxx' cannot be a path: File name too long"),
        ({"models": [IRIS, {"name": "faq"}]}, ModelNotFound, "models[1].path: there is no faq beside the manifest"),
    ],
)
def test_what_it_may_not_say(folder: Path, manifest: Any, error: type[StartupError], said: str) -> None:
    with pytest.raises(error) as raised:
        read(folder, manifest)
    assert said in raised.value.message
    assert raised.value.message.startswith("model-repository.json: ")


def test_a_link_to_itself_is_refused(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    with pytest.raises(StartupError, match=r"model-repository.json: models\[0\].path: "):
        read(folder, {"models": [{"name": "loop"}]})


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "linked").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ModelInvalid, match="linked leads out"):
        read(folder, {"models": [{"name": "linked"}]})
