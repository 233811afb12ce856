"""Tests of frameworks whose libraries have environments of their own: `make test-frameworks` makes and runs those.

Here only the files are collected whose library is installed: in the development environment all but TensorFlow's, and
Keras with PyTorch as backend; in that of TensorFlow its own and Keras', with TensorFlow as backend.
"""

from importlib.util import find_spec

from tests.runtime.conftest import make_app, script_app, script_folder  # noqa: F401 (fixtures)

_NEEDED = {
    "test_tensorflow.py": "tensorflow",
    "test_keras.py": "keras",
    "test_mlflow.py": "mlflow",
    "test_mlmodel.py": "mlflow",
    "test_huggingface.py": "transformers",
}
collect_ignore = [file for file, library in _NEEDED.items() if find_spec(library) is None]
