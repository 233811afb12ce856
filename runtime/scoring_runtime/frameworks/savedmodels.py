"""Finding a TensorFlow SavedModel, reading it, and saying what is wrong with one that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from scoring_runtime.errors import (
    ModelIncompatible,
    ModelInvalid,
    ModelNotFound,
    StartupError,
)
from scoring_runtime.frameworks.causes import too_large
from scoring_runtime.frameworks.modelfile import check_content, find_model_folder

PROGRAM = "saved_model.pb"
_TAG = "serve"
_EXPORT = "save it with `model.export(folder)` (Keras) or `tf.saved_model.save(model, folder, signatures=…)`"
# What a file of another kind is served with.
_OTHERS = {
    ".keras": "a .keras file is served with `framework: keras`",
    ".h5": "an .h5 file is Keras' old format: load it with Keras and call `model.export(folder)`",
    ".hdf5": "an .hdf5 file is Keras' old format: load it with Keras and call `model.export(folder)`",
    ".tflite": "a .tflite file is for small devices: export the model itself",
}


def find_saved_model(path: Path) -> Path:
    """Return the folder with saved_model.pb: `path`, or the one below it, as in TensorFlow Serving's NAME/1/.

    Raises ModelNotFound where there is none or where it is not clear which one is meant.
    """
    folder = find_model_folder(path, PROGRAM, "SavedModel")
    if folder is not None:
        return folder
    hints = sorted({_OTHERS[file.suffix] for file in path.iterdir() if file.suffix in _OTHERS})
    raise ModelNotFound(f"no SavedModel ({PROGRAM}) in {path}; {'; '.join(hints) if hints else _EXPORT}")


def read_saved_model(folder: Path) -> Any:
    """Return what the SavedModel holds, its variables on the device. Raises a StartupError that names the cause."""
    check_content(folder / PROGRAM)
    try:
        loaded = tf.saved_model.load(str(folder), tags=[_TAG])
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise too_large(folder.name) from None
    except Exception as error:
        raise _explained(folder, error) from error
    if not getattr(loaded, "signatures", None):
        raise ModelInvalid(f"the SavedModel {folder.name} has no signatures, which say what it takes; {_EXPORT}")
    return loaded


def cause_of(error: Exception) -> str:
    """Return the line of a TensorFlow error that says what happened, without where in the graph."""
    lines = [line.strip() for line in str(getattr(error, "message", error)).splitlines()]
    skipped = ("Graph execution error", "Detected at node", "<stack traces", "[[", "2 root error", "(1) ")
    told = [line for line in lines if line and not line.startswith(skipped)]
    if not told:
        return type(error).__name__
    return told[0].removeprefix("(0) ").partition(" [[{{")[0].partition(" [Op:")[0][:300]


def _explained(folder: Path, error: Exception) -> StartupError:
    """Return the StartupError for what loading raised, by cause."""
    said, cause = str(error), cause_of(error)
    if "Op type not registered" in said or "not a registered" in said:
        return ModelIncompatible(
            f"the SavedModel {folder.name} was saved by TensorFlow {_saved_with(folder)} and uses an operator that "
            f"TensorFlow {tf.__version__} lacks: {cause}; custom operators need an image with their library"
        )
    if "incompatible argument to `tags`" in said:
        return ModelInvalid(f"the SavedModel {folder.name} has no graph for serving (tag {_TAG}); {_EXPORT}")
    if "Cannot parse file" in said:
        return ModelInvalid(f"{PROGRAM} is not a SavedModel, or it is damaged")
    if "Unsuccessful TensorSliceReader" in said and "Failed to find" in said:
        return ModelNotFound(
            f"the SavedModel {folder.name} has no folder variables with its weights; copy the whole folder"
        )
    if isinstance(error, IndexError | tf.errors.DataLossError | tf.errors.OutOfRangeError):
        return ModelInvalid(f"the weights of the SavedModel {folder.name} are damaged or cut off: {cause}")
    return ModelInvalid(
        f"the SavedModel {folder.name}, saved by TensorFlow {_saved_with(folder)}, cannot be read by TensorFlow "
        f"{tf.__version__}: {cause}"
    )


def _saved_with(folder: Path) -> str:
    """Return the version of TensorFlow that the SavedModel names."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / PROGRAM).read_bytes())
        return next(graph.meta_info_def.tensorflow_version for graph in saved.meta_graphs) or "of another version"
    except Exception:  # The parser's own error has another class in each implementation of protobuf.
        return "of another version"
