"""Entry scripts: Python that a user wrote for Azure ML, with `init()` and `run(...)`.

The script is in the model folder, beside its models and its own modules. It runs as it is: with the environment that
Azure gives it, and with stand-ins for the Azure packages that are not installed (`scoring_runtime.azureml_shims`).
"""

from __future__ import annotations

from pathlib import Path

from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.script.entry import Entry
from scoring_runtime.frameworks.script.importing import Script, find_script
from scoring_runtime.frameworks.script.model import ScriptModel


def load(path: Path, options: LoadOptions) -> ScriptModel:
    """Import the entry script in the folder `path`, call its `init` and look at its `run`.

    Raises ModelNotFound when there is no such script, FrameworkMissing for a package that it lacks, and
    ModelLoadFailed with file and line for anything that it raises.
    """
    folder, file = find_script(path, options.script.entry)
    script = Script(folder, file)
    module = script.imported(options)
    entry = Entry.of(module, script.name)
    model = ScriptModel(entry, folder, options.script.open_request)
    with script.explaining():
        model.finished(module.init())
    return model
