"""What the folder of a Hugging Face model holds, looked at before transformers is imported.

Only weights that cannot run code (safetensors), tokenizers that are data (tokenizer.json) and architectures that
transformers itself has are let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scoring_runtime.errors import ModelInvalid, ModelNotFound
from scoring_runtime.frameworks.imageconfig import DEFAULT_TOP_K, read_labels
from scoring_runtime.frameworks.modelfile import read_json_object

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
Task = Literal["text-classification", "image-classification"]
_TASKS: Mapping[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
}
# Weights in a pickle, and those of other libraries than PyTorch.
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True)
class Checkpoint:
    """A folder that can be loaded."""

    folder: Path
    task: Task
    architecture: str
    model_type: str
    labels: tuple[str, ...]
    top_k: int
    saved_with: str
    """The version of transformers that wrote it, empty where it does not say."""
    own_code: bool
    """Whether its maker's code lies beside it, which is never run."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read config.json at or in `path` and look at the files beside it. Raises ModelNotFound or ModelInvalid."""
    folder = path.parent if path.is_file() and path.name == CONFIG else path
    if not (folder / CONFIG).is_file():
        what = f"there is no {CONFIG} in {path}" if path.is_dir() else f"{path} is not the folder of a model"
        raise ModelNotFound(f"{what}; copy the whole folder that save_pretrained wrote")
    config = read_json_object(folder / CONFIG)
    architectures = config.get("architectures")
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    task = next((task for end, task in _TASKS.items() if architecture.endswith(end)), None)
    if task is None:
        raise ModelInvalid(
            f"the architecture {architecture or 'in config.json is not named, so it'} is not served: models for text "
            "classification (…ForSequenceClassification) and image classification (…ForImageClassification) are; load "
            "others in a script (`framework: script`)"
        )
    _check_weights(folder, architecture)
    if task == "text-classification" and not (folder / TOKENIZER).is_file():
        raise ModelNotFound(
            f"there is no {TOKENIZER} in {folder}, the tokenizer in its fast form; write it where the model was "
            "trained with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    return Checkpoint(
        folder,
        task,
        architecture,
        str(config.get("model_type", "")),
        read_labels(folder),
        _top_k(config, task),
        str(config.get("transformers_version") or ""),
        "auto_map" in config,
    )


def _check_weights(folder: Path, architecture: str) -> None:
    if any(folder.glob("*.safetensors")):
        return
    others = sorted(file.name for file in folder.iterdir() if file.suffix in _OTHER_WEIGHTS)
    if others:
        raise ModelInvalid(
            f"the weights are in {', '.join(others[:5])}, and only .safetensors is read, which cannot run code: write "
            f"it where you trust the file, with {architecture}.from_pretrained(folder).save_pretrained(folder)"
        )
    raise ModelNotFound(f"there is no .safetensors in {folder}; copy the whole folder that save_pretrained wrote")


def _top_k(config: Mapping[str, Any], task: Task) -> int:
    """Return how many classes an answer has: pipelines read task_specific_params too."""
    parameters = config.get("task_specific_params")
    own = parameters.get(task) if isinstance(parameters, dict) else None
    top_k = own.get("top_k", DEFAULT_TOP_K) if isinstance(own, dict) else DEFAULT_TOP_K
    if type(top_k) is not int or top_k < 1:
        raise ModelInvalid(f"top_k in {CONFIG} is {top_k!r}; it must be a whole number of at least 1")
    return top_k
