"""From settings to a loaded model, and to the sample request beside it."""

from __future__ import annotations

from pathlib import Path

from scoring_runtime.errors import RequestError
from scoring_runtime.frameworks import LoadOptions, Model, ScriptOptions, load_model
from scoring_runtime.frameworks.modelfile import SAMPLE_FILE
from scoring_runtime.process.cgroups import memory_limit_bytes
from scoring_runtime.process.threads import threads_of_a_process
from scoring_runtime.protocols import azure
from scoring_runtime.settings import Settings
from scoring_runtime.tensors import Tensors


def read_model(settings: Settings) -> Model:
    """Load the model that the settings name. Raises a StartupError of the class that names the cause."""
    assert settings.framework is not None
    script = ScriptOptions()
    if settings.framework == "script":
        from scoring_runtime.web.scripted import script_options

        script = script_options(settings)
    options = LoadOptions(
        device=settings.device,
        cores=threads_of_a_process(settings.processes),
        memory_limit_bytes=memory_limit_bytes(),
        precision=settings.precision,
        trusted_types=settings.trusted_types,
        script=script,
        accelerate=settings.accelerate,
        sample=_sample(settings) if settings.accelerate != "none" else None,
    )
    return load_model(settings.framework, settings.model_path, options)


def sample_beside(settings: Settings) -> Path:
    """Return where the model's sample request is, if it has one."""
    path = settings.model_path
    return (path if path.is_dir() else path.parent) / SAMPLE_FILE


def _sample(settings: Settings) -> tuple[Tensors, str] | None:
    """Return the sample request and its method, or None; one that cannot be read is told when it is scored."""
    try:
        call = azure.decode(sample_beside(settings).read_bytes(), "")
    except (RequestError, OSError):
        return None
    return call.inputs, call.method
