"""The servers' environments: each has one of its own below ~/.cache/scoring-operator/bench/environments.

Ours has what its scikit-learn image has, from the same lock file: development's many packages would cost it memory and
time (pandas loads pyarrow where it finds it).

peers/NAME.in names what is wanted, peers/NAME.txt (compiled by `python -m benchmarks.runtime.environments --lock`)
every package with its version, and no index address. An environment is made anew when its lock file has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = Path(__file__).with_name("peers")
OURS = "ours"
OUR_LOCK = ROOT / "requirements" / "runtime-sklearn.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoring-operator" / "bench"
# Triton's Python stub is linked against the Python of Debian; with another one its workers do not start.
DEBIAN_PYTHON = Path("/usr/bin/python3")
NEEDS_DEBIAN_PYTHON = frozenset({"triton"})
# These score images too: they see the project's torch behind their own packages, 5 GB that are not installed again.
BORROWS_TORCH = frozenset({"litserve", "triton"})
_MARKER = ".installed"
_LINK = "borrowed.pth"


class EnvironmentMissingError(Exception):
    """A peer's environment could not be made; the message says why in one line."""


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment."""
    return CACHE / "environments" / peer / "bin" / "python"


def install(peer: str) -> Path:
    """Make the environment of a peer, or ours, or keep the one that is there; return its interpreter.

    Raises EnvironmentMissingError when it cannot be had, for example when there is no package for this Python.
    """
    lock = OUR_LOCK if peer == OURS else LOCKS / f"{peer}.txt"
    python = python_of(peer)
    folder = python.parents[1]
    base = _base_python(peer)
    wanted = hashlib.sha256(lock.read_bytes() + str(base).encode()).hexdigest()
    marker = folder / _MARKER
    if marker.is_file() and marker.read_text() == wanted:
        return python
    print(f"==> installing {peer} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--quiet", "--python", str(base), str(folder))
    # Compiled at once, so that the first start is not the slow one.
    _uv("pip", "sync", "--quiet", "--compile-bytecode", "--python", str(python), str(lock))
    if peer in BORROWS_TORCH:
        _borrow_torch(python)
    marker.write_text(wanted)
    return python


def lock(peer: str) -> None:
    """Compile peers/NAME.in to peers/NAME.txt."""
    print(f"==> locking {peer}", flush=True)
    source, target = LOCKS / f"{peer}.in", LOCKS / f"{peer}.txt"
    flags = ["--no-emit-index-url", "--no-annotate", "--no-header", "--quiet", "--python", str(_base_python(peer))]
    _uv("pip", "compile", *flags, str(source), "-o", str(target))


def _base_python(peer: str) -> Path:
    if peer not in NEEDS_DEBIAN_PYTHON:
        return Path(sys.executable)
    if not DEBIAN_PYTHON.exists():
        raise EnvironmentMissingError(f"{DEBIAN_PYTHON} is missing: apt-get install python3-venv libpython3-dev")
    return DEBIAN_PYTHON


def _borrow_torch(python: Path) -> None:
    """Put this environment's packages behind the peer's own."""
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = next(Path(entry) for entry in sys.path if (Path(entry) / "torch").is_dir())
    Path(found.stdout.strip(), _LINK).write_text(f"{ours}\n")


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([uv, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise EnvironmentMissingError(f"uv {arguments[0]} {arguments[1]}: {said[:600]}")


def main() -> None:
    """Install or lock the environments that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peers", nargs="*", default=sorted(path.stem for path in LOCKS.glob("*.in")))
    parser.add_argument("--lock", action="store_true", help="compile the lock files instead of installing")
    arguments = parser.parse_args()
    failed = False
    for peer in arguments.peers:
        try:
            lock(peer) if arguments.lock else install(peer)
        except EnvironmentMissingError as error:
            failed = True
            print(f"{peer}: {error}", file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
