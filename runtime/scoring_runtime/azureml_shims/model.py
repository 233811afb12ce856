"""`azureml.core.model.Model`, as far as entry scripts use it: where is the file of a registered model?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_LISTED = 10


class Model:
    """Only `get_model_path` exists: there is no workspace in a pod to register or download models."""

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
        """Return the path of a model in the model folder, as text.

        It is looked for as NAME, then as NAME/VERSION (the highest number where none is given), as in Azure's own
        containers, then as the only file called NAME plus an ending. A folder that holds one file stands for that file.
        Raises FileNotFoundError, which says what the folder holds.
        """
        folder = Path(os.environ.get("AZUREML_MODEL_DIR") or ".")
        found = _named(folder, model_name, version) or _named(folder / "azureml-models", model_name, version)
        if found is None:
            names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith((".", "__")))
            holds = ", ".join(names[:_LISTED]) or "nothing"
            which = model_name if version is None else f"{model_name} of version {version}"
            raise FileNotFoundError(f"there is no model {which} in {folder}; it holds {holds}")
        return str(found)


def _named(folder: Path, name: str, version: int | None) -> Path | None:
    # A registered name has no slash; a path that leads elsewhere is nobody's model.
    place = folder / Path(name).name
    if place.is_dir():
        versions = sorted((entry for entry in place.iterdir() if entry.name.isdecimal()), key=lambda one: int(one.name))
        if version is not None:
            versions = [entry for entry in versions if int(entry.name) == version]
            if not versions:
                return None
        return _only_file(versions[-1] if versions else place)
    if place.is_file():
        return place
    files = sorted(folder.glob(f"{Path(name).name}.*")) if folder.is_dir() else []
    return files[0] if len(files) == 1 else None


def _only_file(place: Path) -> Path:
    entries = list(place.iterdir()) if place.is_dir() else []
    return entries[0] if len(entries) == 1 else place
