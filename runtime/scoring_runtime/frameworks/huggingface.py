"""Hugging Face models for the classification of texts and of images, loaded by transformers.

Loading one runs no code of its maker: weights are read from safetensors alone, and `trust_remote_code` is never given.
Nothing is asked of the Hub. A text is turned into tokens in the thread of its request; the tokens of all requests in a
batch are filled up to the longest of them, under a mask.
"""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from scoring_runtime.errors import (
    InputInvalid,
    ModelIncompatible,
    ModelInvalid,
    ModelNotFound,
    ModelTooLarge,
    StartupError,
)
from scoring_runtime.frameworks import PREPROCESSING_FILE, LoadOptions, Model
from scoring_runtime.frameworks.causes import too_large
from scoring_runtime.frameworks.classes import likeliest, likeliest_specs, softmax
from scoring_runtime.frameworks.matching import match
from scoring_runtime.frameworks.modelfile import check_memory
from scoring_runtime.frameworks.programs import cause_of
from scoring_runtime.frameworks.pytorch import answered, device_of, dtype_of, set_threads
from scoring_runtime.frameworks.transformersfiles import TOKENIZER, Checkpoint, read_checkpoint
from scoring_runtime.tensors import Array, Signature, Tensors, TensorSpec, object_array

_TEXT = TensorSpec("text", "object", (-1,))
_PAIR = TensorSpec("text_pair", "object", (-1,))
_PIXELS = "pixel_values"
# A tokenizer that knows no limit says a number larger than any text.
_NO_LIMIT = 10**9


class _Network:
    """A model on its device, called with arrays."""

    platform = "transformers_pytorch"
    warnings: tuple[str, ...] = ()

    def __init__(self, module: Any, device: torch.device) -> None:
        self._module = module
        self._device = device
        self._dtype: torch.dtype = next(module.parameters()).dtype
        self._takes = frozenset(inspect.signature(module.forward).parameters)

    def with_module(self, change: Callable[[Any], Any]) -> Self:
        """Return a copy around what `change` makes of the module."""
        changed = copy.copy(self)
        changed._module = change(self._module)
        return changed

    def _logits(self, arrays: dict[str, Array]) -> Array:
        """Return one number for each row and class, as float32. Raises InputRejected or ModelFailed."""
        with torch.inference_mode():
            return answered(lambda: self._computed(arrays))

    def _computed(self, arrays: dict[str, Array]) -> Array:
        given = {name: self._tensor(array) for name, array in arrays.items() if name in self._takes}
        logits: Array = self._module(**given).logits.float().cpu().numpy()
        return logits

    def _tensor(self, array: Array) -> torch.Tensor:
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


class VisionNetwork(_Network):
    """Takes the pixels of images that are prepared already (scoring_runtime.frameworks.images does that)."""

    methods = ("predict",)

    def __init__(self, module: Any, device: torch.device) -> None:
        super().__init__(module, device)
        classes = int(module.config.num_labels)
        self.signature = Signature(
            (TensorSpec(_PIXELS, "float32", (-1, -1, -1, -1)),), (TensorSpec("logits", "float32", (-1, classes)),)
        )

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`."""
        return Tensors(match(self.signature.inputs, inputs))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        return Tensors((self._logits({_PIXELS: inputs.arrays[0]}),))


class TextModel(_Network):
    """Classifies texts, or pairs of them; a model for regression answers its numbers."""

    def __init__(self, module: Any, device: torch.device, tokenizer: Any, checkpoint: Checkpoint) -> None:
        super().__init__(module, device)
        config = module.config
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        self._pad = tokenizer.pad_token_id
        self._pad_left = tokenizer.padding_side == "left"
        self._with_types = "token_type_ids" in tokenizer.model_input_names
        self._longest = _longest(tokenizer, config)
        self._labels = np.array(_labels(config, checkpoint.labels), dtype=object)
        self._sigmoid = config.problem_type == "multi_label_classification" or len(self._labels) == 1
        regression = config.problem_type == "regression"
        self.methods = ("predict",) if regression else ("predict", "predict_proba", "logits")
        self._top_k = min(checkpoint.top_k, len(self._labels))
        numbers = (TensorSpec("predict", "float32", (-1, len(self._labels))),)
        self.signature = Signature((_TEXT,), numbers if regression else likeliest_specs(self._top_k))

    def prepare(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.prepare`. Each row becomes its tokens. Raises InputInvalid for texts that are too long."""
        paired = inputs.names is not None and _PAIR.name in inputs.names
        texts = [array.tolist() for array in match((_TEXT, _PAIR) if paired else (_TEXT,), inputs)]
        encoded = self._tokenizer.encode_batch(list(zip(*texts, strict=True)) if paired else texts[0])
        for number, encoding in enumerate(encoded):
            if not encoding.ids:
                raise InputInvalid(f"the text in row {number} is empty")
            if len(encoding.ids) > self._longest:
                raise InputInvalid(
                    f"the text in row {number} has {len(encoding.ids)} tokens, and the model takes {self._longest}; "
                    "shorten it or send its parts"
                )
        return Tensors((object_array(encoded),))

    def predict(self, inputs: Tensors, method: str) -> Tensors:
        """See `Model.predict`."""
        logits = self._scored(inputs.arrays[0])
        if method == "logits" or len(self.methods) == 1:
            return Tensors((logits,))
        probabilities = _sigmoid(logits) if self._sigmoid else softmax(logits)
        if method == "predict_proba":
            return Tensors((probabilities,))
        return likeliest(self._labels, probabilities, self._top_k)

    def _scored(self, rows: Array) -> Array:
        encoded = rows.tolist()
        if self._pad is None and len({len(encoding.ids) for encoding in encoded}) > 1:
            # Without a token to fill up with, only texts of one length go together.
            return np.concatenate([self._logits(self._filled([encoding])) for encoding in encoded])
        return self._logits(self._filled(encoded))

    def _filled(self, encoded: Sequence[Any]) -> dict[str, Array]:
        """Return the tokens of all rows, filled up to the longest, with the mask that says which are real."""
        shape = len(encoded), max(len(encoding.ids) for encoding in encoded)
        ids, mask, types = (np.full(shape, value, np.int64) for value in (self._pad or 0, 0, 0))
        for row, encoding in enumerate(encoded):
            length = len(encoding.ids)
            place = slice(shape[1] - length, None) if self._pad_left else slice(length)
            ids[row, place], mask[row, place], types[row, place] = encoding.ids, 1, encoding.type_ids
        arrays = {"input_ids": ids, "attention_mask": mask}
        return arrays | {"token_type_ids": types} if self._with_types else arrays


def load(path: Path, options: LoadOptions) -> Model:
    """Load the model in the folder `path` onto the device. Raises a StartupError that names the cause."""
    checkpoint = read_checkpoint(path)
    # Weights in other forms may lie beside them.
    check_memory(checkpoint.folder, options.memory_limit_bytes, "*.safetensors")
    device = device_of(options.device)
    dtype = dtype_of(options.precision, device)
    set_threads(options.cores)
    if checkpoint.task == "image-classification":
        return _image_model(checkpoint, device, dtype, options)
    module, tokenizer = _read(checkpoint, dtype, with_tokenizer=True, cores=options.cores)
    return TextModel(_placed(module, device), device, tokenizer, checkpoint)


def _image_model(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, options: LoadOptions) -> Model:
    from scoring_runtime.frameworks.images import load_with_images

    if not (checkpoint.folder / PREPROCESSING_FILE).is_file():
        raise ModelNotFound(
            f"there is no {PREPROCESSING_FILE} beside the model, which says how images are prepared; write it with "
            "AutoImageProcessor.from_pretrained(…).save_pretrained(folder)"
        )

    def network(path: Path, options: LoadOptions) -> Model:
        module, _ = _read(checkpoint, dtype, with_tokenizer=False, cores=options.cores)
        return VisionNetwork(_placed(module, device), device)

    return load_with_images(network, checkpoint.folder, options)


def _read(checkpoint: Checkpoint, dtype: torch.dtype, *, with_tokenizer: bool, cores: int) -> tuple[Any, Any]:
    """Return the module and, if wanted, its tokenizer. Raises a StartupError that names the cause."""
    _stay_offline(cores)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    texts = checkpoint.task == "text-classification"
    kind = transformers.AutoModelForSequenceClassification if texts else transformers.AutoModelForImageClassification
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, report = kind.from_pretrained(
                checkpoint.folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **safe
            )
            tokenizer = (
                transformers.AutoTokenizer.from_pretrained(checkpoint.folder, **safe) if with_tokenizer else None
            )
    except MemoryError:
        raise too_large("the model") from None
    except Exception as error:
        raise _explained(error, checkpoint, transformers.__version__) from error
    # transformers would fill them with random numbers.
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelInvalid(
            f"the weights lack {len(missing)} of the tensors of {checkpoint.architecture}, such as {missing[0]}; was "
            "the model saved before it was trained for this task?"
        )
    if tokenizer is not None and not getattr(tokenizer, "is_fast", False):
        raise ModelInvalid(f"{TOKENIZER} makes no fast tokenizer; write it again with a newer transformers")
    return module.eval(), tokenizer


def _stay_offline(cores: int) -> None:
    """Set what the libraries read when they are imported."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ[name] = "1"
    os.environ.setdefault("RAYON_NUM_THREADS", str(cores))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if cores > 1 else "false")


def _placed(module: Any, device: torch.device) -> Any:
    try:
        return module.to(device)
    except (torch.OutOfMemoryError, MemoryError):
        raise ModelTooLarge("the model does not fit the GPU's memory") from None


def _explained(error: Exception, checkpoint: Checkpoint, installed: str) -> StartupError:
    """Return the StartupError for what loading raised, by cause."""
    said = cause_of(error)
    if checkpoint.own_code and ("trust_remote_code" in str(error) or "custom code" in str(error)):
        return ModelInvalid(
            "the model is made of Python code that lies beside it (auto_map in config.json), which is never run; "
            "export it to ONNX or with torch.export, or load it in a script (`framework: script`)"
        )
    if "does not recognize this architecture" in str(error) or "Unrecognized" in said or isinstance(error, KeyError):
        wanted = checkpoint.saved_with or "another version"
        return ModelIncompatible(
            f"transformers {installed} does not know the model type {checkpoint.model_type or 'in config.json'}, which "
            f"transformers {wanted} wrote; use an image with that version"
        )
    return ModelInvalid(f"the model cannot be loaded by transformers {installed}: {said}")


def _longest(tokenizer: Any, config: Any) -> int:
    """Return how many tokens the model takes, as far as tokenizer and configuration say."""
    limits = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    return min((int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT), default=_NO_LIMIT)


def _labels(config: Any, given: tuple[str, ...]) -> tuple[str, ...]:
    return given if len(given) == config.num_labels else tuple(f"LABEL_{at}" for at in range(config.num_labels))


def _sigmoid(logits: Array) -> Array:
    array: Array = torch.from_numpy(logits).sigmoid().numpy()
    return array
