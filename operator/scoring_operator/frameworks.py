"""The libraries that a model can have been saved with; the runtime has a module and an image for each."""

from collections.abc import Mapping

FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "lightgbm",
    "pytorch",
    "onnx",
    "tensorflow",
    "keras",
    "mlflow",
    "huggingface",
    "script",
)
ACCELERATED_FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("sklearn", "xgboost", "lightgbm"),
    "compile": ("pytorch", "huggingface"),
}
"""Way to accelerate → those whose models it is for."""
GPU_FRAMEWORKS = ("xgboost", "pytorch", "onnx", "tensorflow", "keras", "mlflow", "huggingface")
"""Those that must compute on the GPU of their pod; a script decides by itself, the others use the CPU."""
