"""Which certificate authorities are trusted, for all schemes: the system's, and those of `CA_CERTIFICATES`.

`CA_CERTIFICATES` holds certificates in PEM form, as an entry of the Secret does: nothing has to be mounted.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import cache
from pathlib import Path

from scoring_runtime.errors import SettingsInvalid

CA_VARIABLE = "CA_CERTIFICATES"


def tls_context() -> ssl.SSLContext:
    """Return a context that verifies servers. Raises SettingsInvalid when CA_CERTIFICATES holds no certificates."""
    context = ssl.create_default_context()
    pem = os.environ.get(CA_VARIABLE)
    if pem:
        try:
            context.load_verify_locations(cadata=pem)
        except ssl.SSLError:
            raise SettingsInvalid(
                f"{CA_VARIABLE} holds no certificates in PEM form; put the authority's file into the Secret: "
                f"--from-file={CA_VARIABLE}=ca.pem"
            ) from None
    return context


def bundle() -> str | None:
    """Return a file with everything that is trusted, for libraries that want one; None where nothing was added."""
    pem = os.environ.get(CA_VARIABLE)
    if not pem:
        return None
    tls_context()
    return str(_written(pem))


@cache
def _written(pem: str) -> Path:
    import certifi

    stream, name = tempfile.mkstemp(prefix="scoring-ca-", suffix=".pem")
    with os.fdopen(stream, "w") as file:
        file.write(f"{Path(_system_file() or certifi.where()).read_text()}\n{pem}\n")
    return Path(name)


def _system_file() -> str | None:
    found = ssl.get_default_verify_paths().cafile
    return found if found and Path(found).is_file() else None
