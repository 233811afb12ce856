"""scikit-learn models as files: every way to save one, and every file that is none.

A bad model is a real file, made here; each must be refused with the reason that the operator shows and a sentence that
says what is wrong.
"""

import gzip
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from skops import io as skops_io

from scoring_runtime.errors import StartupError
from scoring_runtime.frameworks import LoadOptions, load_model
from tests.runtime.test_sklearn import FEATURES, SPECIES, fitted, score


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("model.joblib", joblib.dump),
        ("model.pkl", lambda model, path: path.write_bytes(pickle.dumps(model))),
        ("model.pickle", lambda model, path: path.write_bytes(pickle.dumps(model, protocol=0))),
        ("model.joblib", lambda model, path: joblib.dump(model, path, compress=3)),
        ("whatever.skops", skops_io.dump),
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_formats(tmp_path: Path, name: str, save: Callable[[Any, Path], object], as_file: bool) -> None:
    model = fitted()
    save(model, tmp_path / name)
    (tmp_path / "README.md").write_text("about")
    loaded = load_model("sklearn", tmp_path / name if as_file else tmp_path, LoadOptions())
    assert score(loaded, {"data": FEATURES[::10].tolist()}) == model.predict(FEATURES[::10]).tolist()
    assert loaded.methods == ("predict", "predict_proba", "decision_function")
    assert loaded.warnings == ()


def refused(path: Path, **options: Any) -> tuple[str, str]:
    with pytest.raises(StartupError) as raised:
        load_model("sklearn", path, LoadOptions(**options))
    assert "\n" not in raised.value.message
    return raised.value.reason, raised.value.message


@pytest.mark.parametrize(
    ("name", "content", "reason", "said"),
    [
        ("model.joblib", b"", "ModelInvalid", "model.joblib is empty"),
        ("model.pkl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "ModelInvalid", "Git LFS pointer"),
        ("model.pkl", b"\n<!DOCTYPE html><html><body>Sign in</body>", "ModelInvalid", "is a web page"),
        ("model.pkl", b'{"error": "AccessDenied"}', "ModelInvalid", "is JSON text"),
        ("model.pkl", b"these are only notes about the model", "ModelInvalid", "is text"),
        ("model.pkl", b"\x00\x01\x02" * 100, "ModelInvalid", "not a joblib or pickle file"),
        ("model.pkl", pickle.dumps(list(range(1000)))[:-50], "ModelInvalid", "damaged"),
        ("model.joblib", gzip.compress(b"nothing", mtime=0), "ModelInvalid", "not a joblib or pickle file"),
        ("model.pkl", pickle.dumps({"model": 1}), "ModelInvalid", "builtins.dict, which has no predict"),
        ("model.pkl", b"\x80\x63K\x01.", "ModelIncompatible", "a newer Python"),
        ("model.skops", b"no archive", "ModelInvalid", "is not a skops file"),
        ("model.onnx", b"x", "ModelNotFound", "no model file (.joblib, .pkl, .pickle or .skops)"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, name: str, content: bytes, reason: str, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    found, message = refused(tmp_path)
    assert (found, said in message) == (reason, True), message


def test_no_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == ("ModelNotFound", f"{tmp_path}/no does not exist")


def test_an_empty_folder_and_a_folder_in_a_folder(tmp_path: Path) -> None:
    assert "it holds nothing" in refused(tmp_path)[1]
    (tmp_path / "iris").mkdir()
    assert "it holds iris" in refused(tmp_path)[1]


def test_several_candidates(tmp_path: Path) -> None:
    joblib.dump(fitted(), tmp_path / "a.joblib")
    (tmp_path / "b.pkl").write_bytes(b"x")
    reason, message = refused(tmp_path)
    assert (reason, "2 files" in message, "a.joblib, b.pkl" in message) == ("ModelNotFound", True, True)
    (tmp_path / "a.joblib").rename(tmp_path / "model.joblib")
    assert load_model("sklearn", tmp_path, LoadOptions()).methods
    (tmp_path / "b.pkl").rename(tmp_path / "model.pkl")
    assert "model.joblib, model.pkl" in refused(tmp_path)[1]


def test_a_model_of_another_framework_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    assert refused(tmp_path / "model.pt")[0] == "ModelNotFound"


def test_larger_than_the_memory(tmp_path: Path) -> None:
    joblib.dump(fitted(), tmp_path / "model.joblib")
    reason, message = refused(tmp_path, memory_limit_bytes=1000)
    assert (reason, "raise resources.limits.memory" in message) == ("ModelTooLarge", True)


class _OutOfMemory:
    def __reduce__(self) -> tuple:
        return bytearray, (1 << 62,)


def test_memory_runs_out_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(_OutOfMemory()))
    assert refused(tmp_path)[0] == "ModelTooLarge"


def pickled_class(module: str, name: str) -> bytes:
    """Return a pickle of an object of a class that exists now and not when it is read."""
    made = types.ModuleType(module)
    sys.modules[module] = made
    try:
        made.__dict__[name] = type(name, (), {"__module__": module})
        return pickle.dumps(made.__dict__[name]())
    finally:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("module", "name", "reason", "said"),
    [
        ("boosted_trees", "Model", "FrameworkMissing", "needs the Python package boosted_trees"),
        ("sklearn_gone", "Model", "FrameworkMissing", "needs the Python package sklearn_gone"),
        ("sklearn.ensemble.forest", "Forest", "ModelIncompatible", f"this image has {sklearn.__version__}"),
        ("sklearn.gone", "Thing", "ModelIncompatible", "another version"),
    ],
)
def test_missing_modules(tmp_path: Path, module: str, name: str, reason: str, said: str) -> None:
    (tmp_path / "model.pkl").write_bytes(pickled_class(module, name))
    found, message = refused(tmp_path)
    assert (found, said in message) == (reason, True), message


def test_a_class_of_the_script_that_saved_it(tmp_path: Path) -> None:
    main = sys.modules["__main__"]
    main.MyModel = type("MyModel", (), {"__module__": "__main__"})  # type: ignore[attr-defined]
    try:
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(main.MyModel()))  # type: ignore[attr-defined]
    finally:
        del main.MyModel  # type: ignore[attr-defined]
    reason, message = refused(tmp_path)
    assert (reason, "MyModel" in message, "move it into a package" in message) == ("ModelIncompatible", True, True)


def test_a_class_that_a_library_no_longer_has(tmp_path: Path) -> None:
    data = pickle.dumps(LogisticRegression(max_iter=500).fit(FEATURES, SPECIES))
    (tmp_path / "model.pkl").write_bytes(data.replace(b"LogisticRegression", b"LogisticXegression"))
    reason, message = refused(tmp_path)
    assert reason == "ModelIncompatible"
    assert f"saved with scikit-learn {sklearn.__version__}" in message


def other_version(model: Any, version: str) -> bytes:
    """Return the pickle of a model as an older scikit-learn of a version of the same length would name itself."""
    data = pickle.dumps(model)
    assert len(version) == len(sklearn.__version__)
    assert sklearn.__version__.encode() in data
    return data.replace(sklearn.__version__.encode(), version.encode())


def test_another_version_that_works_is_a_warning(tmp_path: Path) -> None:
    version = "0.0.1"
    (tmp_path / "model.pkl").write_bytes(other_version(fitted(), version))
    model = load_model("sklearn", tmp_path, LoadOptions())
    assert score(model, {"data": FEATURES[:1].tolist()}) == [0]
    (warning,) = model.warnings
    assert f"saved with scikit-learn {version} and is read by {sklearn.__version__}" in warning


def test_another_version_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    forest = RandomForestClassifier(n_estimators=1).fit(FEATURES, SPECIES)
    data = other_version(forest, "0.0.1").replace(b"impurity", b"xmpurity")
    (tmp_path / "model.pkl").write_bytes(data)
    reason, message = refused(tmp_path)
    assert reason == "ModelIncompatible"
    assert f"saved with scikit-learn 0.0.1 and this image has {sklearn.__version__}" in message


class Home:
    """A type that skops does not know."""

    def predict(self, rows: Any) -> Any:
        return np.zeros(len(rows))


def test_skops_refuses_types_that_are_not_trusted(tmp_path: Path) -> None:
    skops_io.dump(Home(), tmp_path / "model.skops")
    unknown = f"{Home.__module__}.Home"
    reason, message = refused(tmp_path)
    assert (reason, unknown in message, "SCORING_TRUSTED_TYPES" in message) == ("ModelInvalid", True, True)
    reason, message = refused(tmp_path, trusted_types=("other.Type",))
    assert reason == "ModelInvalid"


def test_skops_loads_types_that_are_trusted(tmp_path: Path) -> None:
    skops_io.dump(Home(), tmp_path / "model.skops")
    model = load_model("sklearn", tmp_path, LoadOptions(trusted_types=(f"{Home.__module__}.Home",)))
    assert score(model, {"data": [[1], [2]]}) == [0, 0]
