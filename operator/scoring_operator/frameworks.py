"""The libraries that a model can have been saved with; the runtime has a module and an image for each."""

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
ACCELERATED_FRAMEWORKS = ("sklearn", "xgboost", "lightgbm")
"""Those whose models `accelerate: onnx` converts."""
GPU_FRAMEWORKS = ("xgboost", "pytorch", "onnx", "tensorflow", "keras", "mlflow", "huggingface")
"""Those that must compute on the GPU of their pod; a script decides by itself, the others use the CPU."""
