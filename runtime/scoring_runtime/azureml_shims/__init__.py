"""Small stand-ins of our own for the Azure packages that entry scripts import.

Scripts written for Azure ML import a handful of names from packages that are large, or no longer published: the place
of a model, the two classes for raw HTTP, the schema decorators. `install` makes those imports work. The real package
wins wherever it is installed, because the finder here is asked last, and nothing changes for other imports.

Nothing here is imported by processes that serve another framework.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

RAWHTTP_MARK = "_scoring_rawhttp"
"""The attribute of a `run` that is decorated with @rawhttp."""

_HERE = "scoring_runtime.azureml_shims"

# Module that a script imports → the module whose names it gets; "" is a package without names of its own.
_SOURCES = {
    "azureml": "",
    "azureml.core": f"{_HERE}.model",
    "azureml.core.model": f"{_HERE}.model",
    "azureml.contrib": "",
    "azureml.contrib.services": f"{_HERE}.rawhttp",
    "azureml.contrib.services.aml_request": f"{_HERE}.rawhttp",
    "azureml.contrib.services.aml_response": f"{_HERE}.rawhttp",
    "azureml.ai": "",
    "azureml.ai.monitoring": f"{_HERE}.monitoring",
    "azureml.ai.monitoring.context": f"{_HERE}.monitoring",
    "azureml.monitoring": f"{_HERE}.monitoring",
    "azureml_inference_server_http": "",
    "azureml_inference_server_http.api": "",
    "azureml_inference_server_http.api.aml_request": f"{_HERE}.rawhttp",
    "azureml_inference_server_http.api.aml_response": f"{_HERE}.rawhttp",
    "inference_schema": "",
    "inference_schema.schema_decorators": f"{_HERE}.schemas",
    "inference_schema.schema_util": f"{_HERE}.schemas",
    "inference_schema.parameter_types": "",
    "inference_schema.parameter_types.abstract_parameter_type": f"{_HERE}.parameters",
    "inference_schema.parameter_types.standard_py_parameter_type": f"{_HERE}.parameters",
    "inference_schema.parameter_types.numpy_parameter_type": f"{_HERE}.parameters_numpy",
    "inference_schema.parameter_types.pandas_parameter_type": f"{_HERE}.parameters_pandas",
    "sklearn.externals": "",
    "sklearn.externals.joblib": "joblib",
}
_PACKAGES = {name.rpartition(".")[0] for name in _SOURCES} - {"", "sklearn"} | {"sklearn.externals.joblib"}
# Pickles of old scikit-learn name classes inside it: sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper.
_JOBLIB = "sklearn.externals.joblib."


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        source = _source(fullname)
        if source is None:
            return None
        return ModuleSpec(fullname, _Borrower(source), is_package=fullname in _PACKAGES)


class _Borrower(Loader):
    """Fills a module with the names of another, so that both have the same objects."""

    def __init__(self, source: str) -> None:
        self._source = source

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if self._source:
            names = vars(import_module(self._source))
            vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})


def install() -> None:
    """Make the stand-ins importable in this process; does nothing the second time."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _source(fullname: str) -> str | None:
    if fullname.startswith(_JOBLIB):
        return f"joblib.{fullname.removeprefix(_JOBLIB)}"
    return _SOURCES.get(fullname)
