"""Reading what scikit-learn models are saved in: joblib and pickle, which run code, and skops, which does not.

scikit-learn itself is imported by what the file holds, which takes seconds; a file that is no model is told before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scoring_runtime.errors import FrameworkMissing, ModelIncompatible, ModelInvalid, StartupError
from scoring_runtime.frameworks import LoadOptions
from scoring_runtime.frameworks.causes import first_line, too_large
from scoring_runtime.frameworks.modelfile import looks_like_text

# When an attribute or module of these is missing, the model was saved by another version of it.
_VERSIONED = frozenset({"sklearn", "numpy", "scipy", "pandas", "joblib", "_loss"})
_SAVED_WITH = re.compile(rb"_sklearn_version.{0,8}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)


def read_pickle(file: Path) -> Any:
    """Return what a joblib or pickle file holds. Raises a StartupError that names the cause."""
    import joblib

    try:
        return joblib.load(file)
    except MemoryError:
        raise too_large(file.name) from None
    except Exception as error:
        raise _explained(file, error) from error


def _explained(file: Path, error: Exception) -> StartupError:
    """Return the StartupError for what unpickling raised, by cause."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package not in _VERSIONED:
            return FrameworkMissing(
                f"{file.name} needs the Python package {package}, which this image does not have; "
                "use an image with that package added"
            )
        return _incompatible(file, error)
    if isinstance(error, AttributeError):
        if "__main__" in str(error):
            return ModelIncompatible(
                f"{file.name} uses a class or function of the script that saved it ({first_line(error)}); "
                "move it into a package that the image has, or export without it"
            )
        return _incompatible(file, error)
    if looks_like_text(file):
        return ModelInvalid(f"{file.name} is text, not a pickled model")
    if "unsupported pickle protocol" in str(error):
        return ModelIncompatible(f"{file.name} was pickled by a newer Python: {first_line(error)}")
    if _saved_with(file) not in (None, _installed()):
        return _incompatible(file, error)
    return ModelInvalid(
        f"{file.name} is not a joblib or pickle file, or it is damaged ({type(error).__name__}: {first_line(error)})"
    )


def _incompatible(file: Path, error: Exception) -> ModelIncompatible:
    wanted = _saved_with(file) or "another version"
    return ModelIncompatible(
        f"{file.name} was saved with scikit-learn {wanted} and this image has {_installed()}, "
        f"which cannot read it ({first_line(error)}); train it again with {_installed()}, "
        f"or use an image with scikit-learn {wanted}"
    )


def _installed() -> str:
    return version("scikit-learn")


def _saved_with(file: Path) -> str | None:
    """Return the scikit-learn version that an uncompressed pickle names, without unpickling it."""
    with file.open("rb") as stream:
        overlap = b""
        while chunk := stream.read(1 << 20):
            found = _SAVED_WITH.search(overlap + chunk)
            if found:
                return found[1].decode()
            overlap = chunk[-64:]
    return None


def read_skops(file: Path, options: LoadOptions) -> Any:
    """Return what a skops file holds, if its types are trusted. Raises a StartupError that names the cause."""
    try:
        from skops import io as skops_io
    except ImportError:
        raise FrameworkMissing(f"{file.name} needs the Python package skops, which this image does not have") from None
    try:
        unknown = set(skops_io.get_untrusted_types(file=file)) - set(options.trusted_types)
        if not unknown:
            return skops_io.load(file, trusted=list(options.trusted_types))
    except MemoryError:
        raise too_large(file.name) from None
    except ModuleNotFoundError as error:
        raise _explained(file, error) from error
    except Exception as error:
        raise ModelInvalid(f"{file.name} is not a skops file, or it is damaged ({first_line(error)})") from error
    raise ModelInvalid(
        f"{file.name} holds types that are not trusted: {', '.join(sorted(unknown))}; "
        "if you trust them, name them in SCORING_TRUSTED_TYPES"
    )


def version_notes(file: Path, caught: Sequence[Warning | str]) -> list[str]:
    """Return a sentence for each scikit-learn version, other than the installed one, that the warnings name."""
    # The attribute is that of sklearn.exceptions.InconsistentVersionWarning.
    found = {str(getattr(warning, "original_sklearn_version", "")) for warning in caught} - {""}
    return [
        f"{file.name} was saved with scikit-learn {saved_with} and is read by {_installed()}; "
        "its results may differ: train it again, or use an image with its version"
        for saved_with in sorted(found)
    ]
