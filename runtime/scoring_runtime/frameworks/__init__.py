"""One module for each machine-learning library, and the registry that finds them.

To add a framework, add a module with a `load` function and one line to `FRAMEWORKS`. A framework module knows arrays
and its library; it knows nothing of HTTP, queues or settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from scoring_runtime.errors import FrameworkMissing, SettingsInvalid
from scoring_runtime.messages import OpenRequest
from scoring_runtime.tensors import Signature, Tensors

FRAMEWORKS = {
    "sklearn": "scoring_runtime.frameworks.sklearn",
    "xgboost": "scoring_runtime.frameworks.xgboost",
    "lightgbm": "scoring_runtime.frameworks.lightgbm",
    "pytorch": "scoring_runtime.frameworks.pytorch",
    "onnx": "scoring_runtime.frameworks.onnx",
    "tensorflow": "scoring_runtime.frameworks.tensorflow",
    "keras": "scoring_runtime.frameworks.keras",
    "mlflow": "scoring_runtime.frameworks.mlflow",
    "huggingface": "scoring_runtime.frameworks.huggingface",
    "script": "scoring_runtime.frameworks.script",
}

# Those whose loaded models outlive a fork: they have no threads of their own until they score.
LOADED_BEFORE_FORK = frozenset({"sklearn", "pytorch"})


# Those that `accelerate: onnx` converts, and those that `accelerate: compile` compiles.
ACCELERATED = frozenset({"sklearn", "xgboost", "lightgbm"})
COMPILED = frozenset({"pytorch", "huggingface"})

PREPROCESSING_FILE = "preprocessor_config.json"
# Those whose models may be behind the preprocessing of images.
TAKING_IMAGES = frozenset({"pytorch", "onnx", "tensorflow", "keras"})


class Model(Protocol):
    """A loaded model. `prepare` may run in many threads at one time, `predict` in one only."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What `method` may be; the first is the default."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its loading had to say: a library version other than the one it was saved with."""

    @property
    def signature(self) -> Signature:
        """The names, dtypes and shapes of what it takes and gives, as far as the model knows them."""

    @property
    def platform(self) -> str:
        """What it runs on, in the words of the Open Inference Protocol's metadata, such as pytorch_torchscript."""

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """Check what came from a client and give it the model's own dtypes and column order.

        Raises InputInvalid when the shape or the columns are not those of the model.
        """

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """Score prepared rows; every array of the result has one entry for each row.

        Raises InputRejected when the model refuses the values. Anything else it raises is the model's own failure.
        """


@runtime_checkable
class ScriptedModel(Protocol):
    """What entry scripts are beside a Model: they choose whether requests are joined, and bring their own sample."""

    batches: bool
    """Whether `predict` may be given the rows of several requests."""

    def sample(self, file_content: bytes | None) -> Tensors | None:
        """Return what to score before the model is ready, given the sample file's content; None for nothing."""

    def sample_body(self) -> bytes | None:
        """Return the body of a sample request that the model itself has, or None."""


@runtime_checkable
class ModelWithExample(Protocol):
    """What some formats keep beside a Model: an example of its input, and whether requests may be joined for it."""

    batches: bool
    """Whether `predict` may be given the rows of several requests."""

    def example(self) -> Tensors | None:
        """Return what to score before the model is ready, where there is no sample request; None for nothing."""


@dataclass(frozen=True)
class ScriptOptions:
    """What an entry script needs."""

    entry: str = "score.py"
    """The script's path inside the model folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that it finds in its environment."""
    open_request: OpenRequest | None = None
    """Gives a request as the object that @rawhttp promises."""


@dataclass(frozen=True)
class LoadOptions:
    """What a framework may need beside the model's path."""

    device: str = "auto"
    """cpu, cuda or auto."""
    cores: int = 1
    """How many threads may compute at one time."""
    memory_limit_bytes: int | None = None
    """The container's memory limit; a file larger than it is not even opened."""
    precision: str = "float32"
    """float32, bfloat16 or float16: what a Hugging Face model computes in."""
    trusted_types: tuple[str, ...] = ()
    """Types that a .skops file may hold beside those that skops trusts by itself."""
    script: ScriptOptions = field(default_factory=ScriptOptions)
    """For entry scripts."""
    accelerate: str = "none"
    """onnx: convert the model, compile: compile it, and use what comes of it if it gives the same answers."""
    sample: tuple[Tensors, str] | None = None
    """The sample request and its method, if there is one; what is converted must answer it as the model does."""


def load_model(framework: str, path: Path, options: LoadOptions) -> Model:
    """Load the model at `path`, a file or a folder with one model file, with the framework of that name.

    Raises a StartupError of the class that names the cause.
    """
    if framework not in FRAMEWORKS:
        raise SettingsInvalid(f"unknown framework {framework!r}; known are {', '.join(sorted(FRAMEWORKS))}")
    try:
        model = _loaded(framework, path, options)
        if options.accelerate == "onnx" and framework in ACCELERATED:
            from scoring_runtime.frameworks.accelerate import accelerated

            return accelerated(framework, model, options)
        if options.accelerate == "compile" and framework in COMPILED:
            from scoring_runtime.frameworks.accelerate.compiling import compiled

            return compiled(model, options)
        return model
    except ImportError as error:
        raise FrameworkMissing(
            f"this image has no {error.name or framework}, which framework {framework} needs; "
            f"use the image for {framework}, or one with that package added"
        ) from error


def _loaded(framework: str, path: Path, options: LoadOptions) -> Model:
    load: Callable[[Path, LoadOptions], Model] = import_module(FRAMEWORKS[framework]).load
    preprocessing = (path if path.is_dir() else path.parent) / PREPROCESSING_FILE
    if framework in TAKING_IMAGES and preprocessing.is_file():
        from scoring_runtime.frameworks.images import load_with_images

        return load_with_images(load, path, options)
    return load(path, options)
