"""The Debian base image for a machine that reaches package archives but no image registry.

debootstrap's minbase variant is what the official `debian:*-slim` images are made from; the same kinds of files are
left out here: documentation, manuals, translations, package lists, logs.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from devcluster import versions
from devcluster.commands import Command, run_logged, with_retries
from devcluster.paths import Paths
from devcluster.progress import step

REFERENCE = f"docker.io/library/debian:{versions.DEBIAN}-slim"
RECIPE = "1"
"""Raised when the way the base is made changes; part of every image's key."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "man", "locale")
"""Folders of /usr/share that slim images lack."""

DPKG_RULES = "".join(f"path-exclude=/usr/share/{name}/*\n" for name in LEFT_OUT) + (
    "path-include=/usr/share/doc/*/copyright\n"
)
APT_RULES = """\
Acquire::Languages "none";
Acquire::Retries "4";
Acquire::GzipIndexes "true";
APT::Install-Recommends "false";
"""
SOURCES = f"""\
Types: deb
URIs: {{mirror}}
Suites: {versions.DEBIAN} {versions.DEBIAN}-updates
Components: main
Signed-By: {KEYRING}

Types: deb
URIs: {{mirror}}-security
Suites: {versions.DEBIAN}-security
Components: main
Signed-By: {KEYRING}
"""


def archive(paths: Paths) -> Path:
    """A tar of the base's root file system, made when missing."""
    file = paths.archives / f"debian-{versions.DEBIAN}-slim-{RECIPE}.tar"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with step(f"made the base image debian:{versions.DEBIAN}-slim", always=True):
            _make(paths, file)
    return file


def _make(paths: Paths, file: Path) -> None:
    log = paths.logs / "debootstrap.log"
    with tempfile.TemporaryDirectory(dir=paths.archives) as workplace:
        root = Path(workplace) / "root"

        def bootstrap() -> None:
            shutil.rmtree(root, ignore_errors=True)
            run_logged(Command(["debootstrap", "--variant=minbase", versions.DEBIAN, root]), log)

        with_retries(bootstrap)
        _make_slim(root)
        part = Path(workplace) / "base.tar"
        flags = ("--sort=name", "--numeric-owner", "--xattrs", "--mtime=@0", "--one-file-system")
        run_logged(Command(["tar", "--create", *flags, f"--file={part}", f"--directory={root}", "."]), log)
        part.replace(file)


def _make_slim(root: Path) -> None:
    # debootstrap chose its default mirror and wrote it here; security updates lie beside it.
    sources = root / "etc/apt/sources.list"
    mirror = sources.read_text().split()[1].rstrip("/")
    sources.unlink()
    (root / "etc/apt/sources.list.d/debian.sources").write_text(SOURCES.format(mirror=mirror))
    (root / "etc/apt/apt.conf.d/90slim").write_text(APT_RULES)
    (root / "etc/dpkg/dpkg.cfg.d/90slim").write_text(DPKG_RULES)
    # What debootstrap copied from this machine, and what differs from run to run.
    for name in ("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    for name in LEFT_OUT:
        for entry in (root / "usr/share" / name).glob("*"):
            _remove_but_copyrights(entry)
    for folder in ("var/lib/apt/lists", "var/cache/apt", "var/cache/ldconfig", "var/log", "tmp", "run"):
        for entry in (root / folder).glob("*"):
            _remove(entry)


def _remove_but_copyrights(entry: Path) -> None:
    if not (entry / "copyright").is_file():
        _remove(entry)
        return
    for file in entry.iterdir():
        if file.name != "copyright":
            _remove(file)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
