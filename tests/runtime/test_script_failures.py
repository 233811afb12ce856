"""Scripts that are broken: one sentence that says which file, which line and why, and status 3.

case                                        reason
no such script, a path outside the folder   ModelNotFound
raises while imported or in init            ModelLoadFailed, with the file and line of the user's own code
a package that is missing                   FrameworkMissing, with its name
no init, no run, a run that cannot work     ModelLoadFailed
a sample that fails                         SampleFailed
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoring_runtime.errors import FrameworkMissing, ModelLoadFailed, ModelNotFound, SampleFailed
from scoring_runtime.frameworks import LoadOptions, ScriptOptions, load_model
from tests.waiting import PATIENCE

FolderOf = Callable[..., Path]

BROKEN = {
    "broken_name": "score.py: NameError: name 'np' is not defined (line 14)",
    "broken_syntax": "score.py: SyntaxError: expected ':' (line 5)",
    "broken_module": "broken_helper.py: KeyError: 'threshold' (line 3)",
    "broken_exit": "score.py: the script ended the process with sys.exit('no licence') (line 5)",
    "no_init": "score.py: the script has no function init(); an entry script defines init() and run(data)",
    "no_run": "score.py: the script has a run that is not a function; an entry script defines init() and run(data)",
    "star_arguments": "score.py: run() has *args, **kwargs or positional-only arguments; give each a plain name",
    "two_styles": "score.py: run() has both @rawhttp and a schema decorator; use one of them",
    "two_arguments": "score.py: run() needs the arguments first, second, and without @input_schema it gets one; "
    "decorate it with @input_schema, or take one argument",
    "wrong_parameter": "score.py: ValueError: @input_schema names the parameter 'dat'; the function has data (line 9)",
}


@pytest.mark.parametrize("script", BROKEN)
def test_broken_scripts(script_folder: FolderOf, script: str) -> None:
    folder = script_folder(script, *(["broken_helper"] if script == "broken_module" else []))
    with pytest.raises(ModelLoadFailed) as raised:
        load_model("script", folder, LoadOptions())
    assert raised.value.message == BROKEN[script]
    assert (raised.value.reason, raised.value.exit_code) == ("ModelLoadFailed", 3)


def test_a_missing_package(script_folder: FolderOf) -> None:
    with pytest.raises(FrameworkMissing) as raised:
        load_model("script", script_folder("broken_package"), LoadOptions())
    assert raised.value.message == (
        "score.py needs the Python package no_such_package, which this image does not have (line 1); "
        "use an image with that package added, or put no_such_package.py beside the script"
    )


def test_a_missing_model(script_folder: FolderOf) -> None:
    with pytest.raises(ModelLoadFailed) as raised:
        load_model("script", script_folder("broken_model"), LoadOptions())
    assert raised.value.message.startswith("score.py: FileNotFoundError: there is no model churn in ")
    assert raised.value.message.endswith("; it holds score.py (line 6)")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("main.py", "there is no entry script main.py in {folder}; it holds score.py"),
        ("../other.py", "the entry script ../other.py is outside the model's folder; give its path inside the folder"),
        ("/etc/passwd", "the entry script /etc/passwd is outside"),
    ],
)
def test_no_such_script(script_folder: FolderOf, entry: str, said: str) -> None:
    folder = script_folder("plain_text")
    (folder.parent / "other.py").touch()
    with pytest.raises(ModelNotFound) as raised:
        load_model("script", folder, LoadOptions(script=ScriptOptions(entry=entry)))
    assert raised.value.message.startswith(said.format(folder=folder))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is not a folder; an entry script lies in the model's folder"):
        load_model("script", tmp_path / "none", LoadOptions())


def test_the_script_itself_may_be_named(script_folder: FolderOf) -> None:
    model: Any = load_model("script", script_folder("plain_text") / "score.py", LoadOptions())
    assert model.entry.first == "data"
    model.close()


def test_samples_that_fail(script_app: Callable[..., Any], script_folder: FolderOf) -> None:
    with pytest.raises(SampleFailed, match="could not score its own sample, that of its schema: the model failed"):
        script_app("sampled")
    folder = script_folder("sampled")
    # A file of the user's own is used instead.
    (folder / "sample-request.json").write_text('{"data": [[1, 1]]}')
    app = script_app(folder)
    assert app.test_client().get("/score?data=[[2,2]]").get_json() == 0.25
    (folder / "sample-request.json").write_text('{"data": [[1]]}')
    with pytest.raises(SampleFailed, match=r"could not score its own sample-request.json: the body is not what"):
        script_app(folder)


PROCESSES = {
    "broken_name": ("ModelLoadFailed", BROKEN["broken_name"]),
    "broken_package": ("FrameworkMissing", "score.py needs the Python package no_such_package, which this image"),
}


@pytest.mark.parametrize("script", PROCESSES)
def test_the_process_ends(start_server: Callable[..., Any], script_folder: FolderOf, script: str) -> None:
    server = start_server(script_folder(script), framework="script")
    assert server.process.wait(PATIENCE) == 3
    message = json.loads(server.termination_log.read_text())
    reason, said = PROCESSES[script]
    assert message["reason"] == reason
    assert message["message"].startswith(said)
    assert any("Traceback" in record["message"] for record in server.records())
