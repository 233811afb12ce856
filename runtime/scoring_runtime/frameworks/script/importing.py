"""Bringing an entry script into this process, and saying in one sentence why it could not be."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from scoring_runtime import azureml_shims
from scoring_runtime.errors import FrameworkMissing, ModelLoadFailed, ModelNotFound, ModelTooLarge, StartupError
from scoring_runtime.frameworks import LoadOptions

_LISTED = 10
_MAX_CHARACTERS = 500
_logger = logging.getLogger(__name__)


def find_script(path: Path, entry: str) -> tuple[Path, Path]:
    """Return the model folder and the script in it; `path` may also be the script itself. Raises ModelNotFound."""
    if path.is_file() and path.suffix == ".py":
        return path.parent.resolve(), path.resolve()
    if not path.is_dir():
        raise ModelNotFound(f"{path} is not a folder; an entry script lies in the model's folder")
    folder = path.resolve()
    script = (folder / entry).resolve()
    if not script.is_relative_to(folder):
        raise ModelNotFound(f"the entry script {entry} is outside the model's folder; give its path inside the folder")
    if not script.is_file():
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        holds = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
        raise ModelNotFound(f"there is no entry script {entry} in {path}; it holds {holds or 'nothing'}")
    return folder, script


class Script:
    """One script file and the model folder that it lies in."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder = folder
        self._file = file

    @property
    def name(self) -> str:
        """The script's path inside the model folder."""
        return self._file.relative_to(self._folder).as_posix()

    def imported(self, options: LoadOptions) -> ModuleType:
        """Run the file and return its module."""
        self._prepare(options)
        name = _free_module_name(self._file.stem)
        spec = spec_from_file_location(name, self._file)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        # Its classes can be pickled, and its own modules can import it.
        sys.modules[name] = module
        with self.explaining():
            spec.loader.exec_module(module)
        return module

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn whatever the script raises into a StartupError that names the file and the line."""
        try:
            yield
        except StartupError:
            raise
        except BaseException as error:  # A script may call sys.exit.
            _logger.error("the entry script raised\n%s", "".join(traceback.format_exception(error)))
            raise self._explained(error) from error

    def _prepare(self, options: LoadOptions) -> None:
        own = {
            "AZUREML_MODEL_DIR": str(self._folder),
            "AZUREML_ENTRY_SCRIPT": self.name,
            "AML_APP_ROOT": str(self._folder),
        }
        os.environ.update(own | dict(options.script.environment))
        for folder in (self._folder, self._file.parent):
            if str(folder) in sys.path:
                sys.path.remove(str(folder))
            sys.path.insert(0, str(folder))
        azureml_shims.install()
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a script prints is read in the log, where it would otherwise appear a block at a time.
            sys.stdout.reconfigure(line_buffering=True)

    def _explained(self, error: BaseException) -> StartupError:
        place, line = self._place(error)
        at = f" (line {line})" if line else ""
        if isinstance(error, MemoryError):
            return ModelTooLarge(f"{place}: its models do not fit the memory{at}; raise resources.limits.memory")
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            return FrameworkMissing(
                f"{place} needs the Python package {package}, which this image does not have{at}; "
                f"use an image with that package added, or put {package}.py beside the script"
            )
        if isinstance(error, SystemExit):
            return ModelLoadFailed(f"{place}: the script ended the process with sys.exit({error.code!r}){at}")
        said = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        said = f": {said[:_MAX_CHARACTERS]}" if said else ""
        return ModelLoadFailed(f"{place}: {type(error).__name__}{said}{at}")

    def _place(self, error: BaseException) -> tuple[str, int | None]:
        """Return the user's file and line where it happened: the last of the traceback that is in the model folder."""
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            places.append((error.filename, error.lineno))
        for file, line in reversed(places):
            if Path(file).is_relative_to(self._folder):
                return Path(file).relative_to(self._folder).as_posix(), line
        return self.name, None


def _free_module_name(stem: str) -> str:
    """Return the name to import the script by: its own, unless that would hide another module, as json.py would."""
    if not stem.isidentifier() or stem in sys.modules or stem in sys.stdlib_module_names:
        return "entry_script"
    return stem
